// Polls how far the pictures are, and puts each one in its frame as soon as it is there.
const ENDED = { completed: "All pictures are there.", partial: "Some pictures could not be made.",
  failed: "The pictures could not be made.", canceled: "The pictures were canceled." };
const POLL_MS = 2000;
const main = document.querySelector("main");
const caseId = main.dataset.case;
let timer;

async function poll() {
  clearTimeout(timer);
  let status;
  try {
    const answer = await fetch(`/api/image-status/${caseId}`);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    status = await answer.json();
  } catch {
    timer = setTimeout(poll, 2 * POLL_MS); // the server restarts, or the line is gone
    return;
  }
  for (const [part, urls] of Object.entries(status.images)) {
    urls.forEach((url, index) => show(part, index, url, messageFor(status, part, index)));
  }
  const { current, total } = status.progress;
  const bar = document.querySelector("#progress progress");
  [bar.max, bar.value] = [total, current];
  document.querySelector("#progress span").textContent = ENDED[status.status] ?? `${current} of ${total} pictures`;
  if (!(status.status in ENDED)) timer = setTimeout(poll, POLL_MS);
}

function show(part, index, url, message) {
  const frame = document.querySelector(`.frame[data-part="${part}"][data-index="${index}"]`);
  const [img, words] = frame.children;
  if (url && img.getAttribute("src") !== url) img.src = url;
  img.hidden = !url;
  words.hidden = Boolean(url);
  words.textContent = message ? "no picture of this one" : "developing …";
  words.title = message ?? "";
}

function messageFor(status, part, index) {
  const type = { locations: "location", suspects: "suspect", evidence: "evidence" }[part];
  return status.errors.find((error) => error.type === type && error.index === index)?.message;
}

async function moderate(what) {
  const said = document.querySelector("details output");
  const send = (token) => fetch(`/api/moderator/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ caseId }),
  });
  let answer = await send();
  if (answer.status === 401) answer = await send(prompt("The moderators' token"));
  said.textContent = answer.ok ? "" : (await answer.json()).detail;
  poll();
}

document.querySelectorAll("[data-does]").forEach((button) =>
  button.addEventListener("click", () => moderate(button.dataset.does)));
document.querySelector("#create")?.addEventListener("click", async () => {
  const made = await (await fetch("/api/case/create", { method: "POST" })).json();
  location.href = `/cases/${made.id}`;
});
if (caseId) poll();
