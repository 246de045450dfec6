// Parts of a page that ask for themselves anew, marked data-live: they rest while nobody looks, can be held by whoever
// reads, and say so when the service does not answer.
(() => {
  const parts = () => document.querySelectorAll("[data-live]");
  const isOne = (event) => event.detail?.ctx?.sourceElement?.matches?.("[data-live]");
  let isHeld = false;

  htmx.config.morphIgnore.push("open");
  htmx.config.noSwap.push("4xx", "5xx");

  document.addEventListener("htmx:before:request", (event) => {
    if (isOne(event) && (document.hidden || isHeld)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !isHeld) refresh();
  });
  document.addEventListener("htmx:after:swap", (event) => { if (isOne(event) && event.detail.ctx.response?.status < 400) say(""); });
  document.addEventListener("htmx:response:error", (event) => { if (isOne(event)) say("The service does not answer as it should. Trying again…"); });
  document.addEventListener("htmx:error", (event) => { if (isOne(event)) say("The service does not answer. Trying again…"); });

  const status = document.createElement("span");
  status.setAttribute("role", "status");
  const hold = document.createElement("button");
  hold.type = "button";
  hold.className = "quiet";
  hold.textContent = "Hold updates";
  hold.setAttribute("aria-pressed", "false");
  hold.addEventListener("click", () => {
    isHeld = !isHeld;
    hold.textContent = isHeld ? "Go on updating" : "Hold updates";
    hold.setAttribute("aria-pressed", String(isHeld));
    if (!isHeld) refresh();
  });
  const line = document.createElement("p");
  line.className = "updates muted";
  line.append(status, hold);
  const bar = document.querySelector("main > .bar");
  (bar?.querySelector(".end") ?? bar)?.prepend(line);

  function refresh() { for (const part of parts()) htmx.trigger(part, "refresh", {}, false); }
  function say(words) { if (status.textContent !== words) status.textContent = words; }
})();
