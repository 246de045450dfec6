"""Who looks after the installation: the doctor when asked, and alerts that are told by themselves."""
