// Looks again every two seconds, orders frames, cancels and retries. The pictures are the server's business.
"use strict";

const LOOK_MS = 2000;
const grid = document.getElementById("grid");
const order = document.getElementById("order");
const said = order.querySelector("output");
let last = "";

async function look() {
  try {
    const answer = await fetch(`${location.pathname}?part=grid`);
    const html = await answer.text();
    if (answer.ok && html !== last) grid.innerHTML = last = html;
  } catch {
    // The app is being started again, say; the next look will tell.
  }
}

async function post(path, body, headers = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.message ?? said.detail?.map((fault) => fault.msg).join("; "));
  return said;
}

async function tell(work) {
  said.textContent = "";
  try {
    await work();
    await look();
  } catch (error) {
    said.textContent = error.message;
  }
}

grid.addEventListener("click", (event) => {
  const path = event.target.dataset.post;
  if (path) tell(() => post(path));
});

// One key for as long as the form says the same: pressed twice, sent twice over a bad line, it is one job.
let key = crypto.randomUUID();
order.addEventListener("input", () => (key = crypto.randomUUID()));

order.addEventListener("submit", (event) => {
  event.preventDefault();
  const { project, branch, scene } = order.dataset;
  const form = new FormData(order);
  const end = form.get("end").trim();
  const frames = end
    ? { job_type: "end_frame", prompts: [end], start_frame: { prompt: form.get("start") } }
    : { job_type: "start_frame", prompts: [form.get("start")] };
  const body = {
    project_id: project,
    branch_id: branch,
    scene_id: scene,
    shot_id: form.get("shot"),
    style: form.get("style") || null,
    n: Number(form.get("n")),
    ...frames,
  };
  tell(() => post("/api/images/generate", body, { "idempotency-key": key }));
});

setInterval(() => document.hidden || look(), LOOK_MS);
