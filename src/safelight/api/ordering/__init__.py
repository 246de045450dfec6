"""From a request body to an order; every fault is found before anything is refused."""
