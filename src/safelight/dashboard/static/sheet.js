// A contact sheet that follows its job. Without this file the page is the same and stands still.
(() => {
  "use strict";

  const COLLECT_MS = 150, POLL_MS = 4000, LOOK_AGAIN_MS = 10000, RECONNECT_MS = 15000, MOST_PAUSE_MS = 30000, SAY_MS = 5000;
  const sheet = document.getElementById("sheet");
  const most = Number(sheet.dataset.most);
  const shown = new Map(); // what the service sent last, by element id: what is the same again is left alone
  const changed = new Set(); // ids of images
  let seq, events, timer, reconnecting, headIsOld = false, isAsking = false, isOver = false, isPolling = false;
  let pause = 0, clockIsAhead = 0, saidAt = 0;

  const head = () => document.getElementById("job-head");
  const lost = (text) => { document.getElementById("job-lost").textContent = text; };

  function learn() {
    const now = head();
    seq = Math.max(seq || 0, Number(now.dataset.seq));
    clockIsAhead = Date.parse(now.dataset.now) - Date.now();
    number(Number(now.dataset.firstPlace));
    say(now.dataset.said, "ended" in now.dataset);
  }

  function number(place) {
    const waiting = [...sheet.querySelectorAll("[data-place]")].sort((a, b) => a.dataset.place - b.dataset.place);
    for (const each of waiting) {
      const text = place ? `${place++} in line` : "";
      if (each.textContent !== text) each.textContent = text;
    }
  }

  function say(text, atOnce) {
    const said = document.getElementById("job-said");
    if (said.textContent === text || (!atOnce && Date.now() - saidAt < SAY_MS)) return;
    if (saidAt) said.textContent = text; // nothing has happened yet when the page is new
    saidAt = Date.now();
  }

  function schedule(inMs = COLLECT_MS) {
    if (timer || isAsking || isOver || document.hidden || !(headIsOld || changed.size)) return;
    timer = setTimeout(ask, Math.max(inMs, pause));
  }

  async function ask() {
    timer = undefined;
    isAsking = true;
    const images = [...changed].slice(0, most);
    images.forEach((each) => changed.delete(each));
    headIsOld = false;
    const begunAt = performance.now();
    try {
      const answer = await fetch(`${sheet.dataset.frames}?images=${images.join(",")}`, { headers: { "HX-Request": "true" } });
      if (answer.status === 401) return end("You are signed out. Load the page again to sign in.");
      if (answer.status === 404) return end("The job is not there any more.");
      if (!answer.ok) throw new Error(answer.status);
      show(await answer.text());
      pause = Math.min(2 * (performance.now() - begunAt), 2000); // a service that is slow is asked less often
      lost("");
    } catch {
      images.forEach((each) => changed.add(each));
      headIsOld = true;
      pause = Math.min(Math.max(2 * pause, 1000), MOST_PAUSE_MS);
      lost("The service does not answer. Trying again…");
    } finally {
      isAsking = false;
    }
    if (!changed.size && !headIsOld && "ended" in head().dataset) {
      const left = live();
      if (!left.length) return end("");
      left.forEach((each) => changed.add(each));
    }
    if (!events && !("ended" in head().dataset)) follow();
    schedule();
  }

  function show(text) {
    const holder = document.createElement("template");
    holder.innerHTML = text;
    for (const fresh of [...holder.content.children]) {
      const old = document.getElementById(fresh.id), html = fresh.outerHTML;
      if (!old || shown.get(fresh.id) === html) continue;
      shown.set(fresh.id, html);
      const all = (selector) => [...old.querySelectorAll(selector)].map(does);
      const open = all("details[open]"), chosen = all("input:checked"), [focused] = all(":focus");
      old.replaceWith(fresh);
      const find = (what) => [...fresh.querySelectorAll("*")].find((each) => does(each) === what);
      for (const each of open) find(each)?.setAttribute("open", "");
      for (const each of chosen) if (find(each)) find(each).checked = true;
      if (focused) (find(focused) || fresh.querySelector("a, summary"))?.focus({ preventScroll: true });
    }
    learn();
  }

  // What an element stands for, in a part that comes anew, too: a button for its own form and no other.
  function does(one) {
    return [one.tagName, one.name, one.value, one.href, one.form?.action].join(" ");
  }

  function live(only = "") {
    return [...sheet.querySelectorAll(`[data-live]${only}`)].map((each) => each.dataset.image);
  }

  function note(images) {
    images.forEach((each) => changed.add(each));
    headIsOld = true;
    schedule();
  }

  function follow() {
    clearTimeout(reconnecting);
    if (isOver || document.hidden || !window.EventSource) { isPolling = !isOver; return; }
    events = new EventSource(`${sheet.dataset.events}?after=${seq}`);
    events.onopen = () => { isPolling = false; };
    events.onerror = () => {
      isPolling = true;
      if (events.readyState === EventSource.CLOSED) reconnecting = setTimeout(follow, RECONNECT_MS);
    };
    for (const type of sheet.dataset.types.split(" ")) events.addEventListener(type, happened);
    events.addEventListener("job.progress", () => note([]));
    events.addEventListener("snapshot", (event) => {
      const states = new Map(JSON.parse(event.data).images.map((each) => [each.id, each.status]));
      const frames = [...sheet.querySelectorAll("[data-image]")];
      note(frames.filter((each) => states.get(each.dataset.image) !== each.dataset.status).map((each) => each.dataset.image));
    });
  }

  function happened(event) {
    const data = JSON.parse(event.data).data;
    seq = Math.max(seq, data.seq);
    note(data.image_id ? [data.image_id] : Array.isArray(data.images) ? data.images : []);
  }

  function end(text) {
    isOver = true;
    rest();
    lost(text);
    sheet.dataset.follows = "ended";
  }

  // Whoever comes back to a job that had ended sees whether somebody has retried it.
  function lookAgain() {
    if (document.getElementById("job-lost").textContent) return; // it is gone, or whoever looks is signed out
    isOver = false;
    delete sheet.dataset.follows;
    note([...sheet.querySelectorAll("[data-image]:not([data-status=completed])")].map((each) => each.dataset.image));
  }

  function rest() {
    events?.close();
    events = undefined;
    clearTimeout(timer);
    clearTimeout(reconnecting);
    timer = undefined;
  }

  function duration(seconds) {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    const minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  function tick() {
    if (document.hidden || isOver) return;
    for (const each of sheet.querySelectorAll("[data-since]")) {
      each.textContent = duration(Math.max(0, (Date.now() + clockIsAhead - Date.parse(each.dataset.since)) / 1000));
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return rest();
    if (isOver) return lookAgain();
    note(live("[data-held]"));
    follow();
  });
  window.addEventListener("pagehide", rest);
  window.addEventListener("pageshow", (event) => { if (event.persisted && !isOver) { note(live()); follow(); } });
  // Two forms of one person: the second click does nothing.
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });

  learn();
  setInterval(tick, 1000);
  setInterval(() => { if (isPolling) note(live()); }, POLL_MS);
  setInterval(() => note(live("[data-held]")), LOOK_AGAIN_MS); // images move without events, too
  if ("ended" in head().dataset && !live().length) end("");
  else follow();
})();
