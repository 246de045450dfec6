// The form, and a list of orders that is fetched again as HTML while something moves.
"use strict";

const LOOK_MS = 1500;
const form = document.getElementById("order");
const orders = document.getElementById("orders");
let requestKey = crypto.randomUUID(); // the same until an order was taken: a second click is the same order
let timer = null;

async function ask(method, path, body, headers = {}) {
  const isForm = body instanceof FormData;
  const response = await fetch(path, {
    method,
    headers: body && !isForm ? { "content-type": "application/json", ...headers } : headers,
    body: body && !isForm ? JSON.stringify(body) : body,
  }).catch(() => null);
  const answer = response ? await response.json().catch(() => ({})) : {};
  if (response && response.ok) return { answer };
  return { problem: { detail: "The studio does not answer.", errors: [], ...answer } };
}

function wish() {
  const chosen = Object.fromEntries(new FormData(form));
  const scenes = chosen.scenes.split("\n").map((line) => line.trim()).filter(Boolean);
  const given = Object.entries(chosen).filter(([, value]) => typeof value === "string" && value !== "");
  return { ...Object.fromEntries(given), scenes };
}

// What Safelight says no to stands at the field that it is about.
function showFaults(problem) {
  for (const place of form.querySelectorAll(".fault")) {
    place.textContent = "";
    place.hidden = true;
  }
  if (!problem) return;
  const rest = [];
  for (const { pointer, detail } of problem.errors || []) {
    const [, name, number] = (pointer || "").split("/");
    const place = name && form.querySelector(`[data-field="/${CSS.escape(name)}"] .fault`);
    const words = number === undefined ? detail : `Line ${Number(number) + 1}: ${detail}`;
    if (place) {
      place.textContent = [place.textContent, words].filter(Boolean).join(" ");
      place.hidden = false;
    } else rest.push(words);
  }
  if (rest.length || !(problem.errors || []).length) {
    const place = document.getElementById("order-fault");
    const left = problem.remaining_credits === undefined ? "" : ` You have ${problem.remaining_credits} left.`;
    place.textContent = (rest.join(" ") || problem.detail) + left;
    place.hidden = false;
  }
}

// Only what has changed is exchanged, so that pictures do not flicker and buttons keep their focus.
async function look() {
  clearTimeout(timer);
  const response = await fetch("/parts/orders").catch(() => null);
  if (response && response.ok) {
    const fresh = document.createElement("div");
    fresh.innerHTML = await response.text();
    let before = null;
    for (const piece of [...fresh.children]) {
      const known = piece.id && document.getElementById(piece.id);
      const shown = known && known.outerHTML === piece.outerHTML ? known : piece;
      if (known && shown !== known) known.replaceWith(shown);
      if (before) before.after(shown);
      else orders.prepend(shown);
      before = shown;
    }
    while (before && before.nextElementSibling) before.nextElementSibling.remove();
  }
  again();
}

function again() {
  clearTimeout(timer);
  if (orders.querySelector("[data-open]") && !document.hidden) timer = setTimeout(look, LOOK_MS);
}

if (form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button:not([type])");
    button.disabled = true;
    const { problem } = await ask("POST", "/api/generations", wish(), { "idempotency-key": requestKey });
    button.disabled = false;
    showFaults(problem);
    if (!problem) {
      requestKey = crypto.randomUUID();
      document.getElementById("price").textContent = "";
      await look();
    }
  });

  form.addEventListener("input", () => { requestKey = crypto.randomUUID(); });

  document.getElementById("quote").addEventListener("click", async () => {
    const { answer, problem } = await ask("POST", "/api/quotes", wish());
    showFaults(problem);
    document.getElementById("price").textContent = problem ? "" :
      `${answer.tokens} tokens` +
      (answer.estimated_seconds === null ? "" : `, about ${Math.ceil(answer.estimated_seconds)} s`) +
      (answer.is_affordable ? `; ${answer.balance_after} are left then` : `; ${-answer.balance_after} too few`);
  });

  form.addEventListener("change", async (event) => {
    const kind = event.target.dataset.upload;
    if (!kind || !event.target.files.length) return;
    const file = new FormData();
    file.append("file", event.target.files[0]);
    const { answer, problem } = await ask("POST", `/api/uploads?kind=${kind}`, file);
    event.target.value = "";
    if (problem) return showFaults({ errors: [{ pointer: `/${kind}`, detail: problem.detail }] });
    showFaults(null);
    const place = form.querySelector(`.photos[data-kind="${kind}"]`);
    place.querySelector(`input[value="${CSS.escape(answer.id)}"]`)?.closest("label").remove();
    const label = document.createElement("label");
    label.className = "photo";
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: kind, value: answer.id, checked: true });
    const image = Object.assign(document.createElement("img"), { src: answer.url, alt: answer.name, title: answer.name });
    label.append(radio, image);
    place.append(label);
  });
}

orders.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  button.disabled = true;
  if (button.dataset.topUp) {
    await ask("POST", "/api/tokens", { tokens: Number(button.dataset.topUp) }, { "idempotency-key": crypto.randomUUID() });
    await look();
  } else if (button.dataset.do) {
    const order = button.closest("article");
    const { problem } = await ask("POST", `/api/generations/${order.id}/${button.dataset.do}`);
    if (problem) {
      const place = order.querySelector("[role=alert]");
      place.textContent = problem.detail;
      place.hidden = false;
    } else await look();
  }
  button.disabled = false;
});

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
again();
