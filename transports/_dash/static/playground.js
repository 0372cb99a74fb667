// Asks the doors of the hub themselves, in their own dialects, and shows answers as they come.

const form = document.querySelector("#ask");
const { dialects, optional } = JSON.parse(document.querySelector("#dialects").textContent);
const answers = document.querySelector("#answers");
const stop = document.querySelector("#stop");
const OPTIONAL = new Set(optional);
const MOST_RAW = 400_000;
let running = null;

function filled(shape, slots) {
  if (typeof shape === "string") {
    const whole = /^\$(\w+)$/.exec(shape);
    return whole ? slots[whole[1]] : shape.replace(/\$(\w+)/g, (_, name) => slots[name]);
  }
  if (Array.isArray(shape)) {
    const kept = shape.map((inner) => filled(inner, slots)).filter((value) => value !== null);
    return kept.length ? kept : null;
  }
  if (shape !== null && typeof shape === "object") {
    const all = Object.entries(shape).map(([name, inner]) => [name, filled(inner, slots)]);
    const kept = all.filter(([, value]) => value !== null);
    const complete = all.every(([name, value]) => value !== null || OPTIONAL.has(name));
    return kept.length && complete ? Object.fromEntries(kept) : null;
  }
  return shape;
}

function picked(tree, place) {
  let here = [tree];
  for (const part of place.split(".")) here = here.flatMap((one) => (Array.isArray(one) && part === "*" ? one : one?.[part] === undefined ? [] : [one[part]]));
  return here.filter((one) => typeof one === "string").join("");
}

function card(model) {
  const section = document.createElement("section");
  section.className = "card answer";
  section.innerHTML = '<h2></h2><div class="said"></div><p class="facts"></p><details><summary>Raw</summary><h3>Sent</h3><pre tabindex="0"></pre><h3>Received</h3><pre tabindex="0"></pre></details>';
  section.querySelector("h2").textContent = model;
  const [sent, received] = section.querySelectorAll("pre");
  answers.append(section);
  return { section, said: section.querySelector(".said"), facts: section.querySelector("p"), sent, received };
}

// The JSON of each event of a stream: server-sent events, or a line each.
async function* events(body, keep) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    keep(value);
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const text = line.startsWith("data:") ? line.slice(5).trim() : line.startsWith("{") ? line : "";
      if (text && text !== "[DONE]") yield JSON.parse(text);
    }
  }
}

// A body that was typed as a whole, with the model in its place where the dialect has one.
const whole = (dialect, typed, model) => ({ ...typed, ...("model" in dialect.body ? { model } : {}) });

async function ask(model, dialect, slots, typed, signal) {
  const shown = card(model);
  const body = { ...(typed ? whole(dialect, typed, model) : filled(dialect.body, slots)), ...dialect.stream };
  shown.sent.textContent = JSON.stringify(body, null, 2);
  const began = performance.now();
  let first = 0;
  const facts = (words, request) => {
    shown.facts.textContent = words;
    if (!request) return;
    const link = document.createElement("a");
    link.href = `/dashboard/requests/${encodeURIComponent(request)}`;
    link.textContent = "why it went there";
    shown.facts.append(", ", link);
  };
  let request = "";
  try {
    const answer = await fetch(filled(dialect.streamed || dialect.path, slots), {
      method: "POST",
      headers: { "content-type": "application/json", "x-csrf-token": form.elements.csrf.value },
      body: JSON.stringify(body),
      signal,
    });
    request = answer.headers.get("x-request-id") ?? "";
    const keep = (text) => { if (shown.received.textContent.length < MOST_RAW) shown.received.append(text); };
    if (!answer.ok) {
      const text = await answer.text();
      keep(text);
      facts(`refused with ${answer.status}`, request);
      shown.said.textContent = picked(JSON.parse(text), "error.message") || picked(JSON.parse(text), "error") || text;
      shown.said.classList.add("fault");
      return;
    }
    for await (const event of events(answer.body, keep)) {
      const text = picked(event, dialect.piece);
      if (text) {
        first ||= performance.now();
        shown.said.append(text);
      }
      const failed = picked(event, "error.message");
      if (failed) shown.said.append(`\n${failed}`);
    }
    const took = performance.now() - began;
    facts(`${(took / 1000).toFixed(2)} s${first ? `, first words after ${Math.round(first - began)} ms` : ""}`, request);
  } catch (error) {
    facts(signal.aborted ? "stopped" : `failed: ${error.message}`, request);
  }
}

// What was typed as a whole request: null for nothing, undefined for what is no JSON object, which is said at its field.
const area = form.elements.body;
function readBody() {
  area.setCustomValidity("");
  if (!area.value.trim()) return null;
  try {
    const tree = JSON.parse(area.value);
    if (tree !== null && typeof tree === "object" && !Array.isArray(tree)) return tree;
    area.setCustomValidity("This must be a JSON object, or empty.");
  } catch (error) {
    area.setCustomValidity(error.message);
  }
  area.closest("details").open = true;
  area.reportValidity();
  return undefined;
}
area.addEventListener("input", () => { area.setCustomValidity(""); form.elements.prompt.required = !area.value.trim(); });

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const own = readBody();
  if (own === undefined) return;
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const typed = Object.fromEntries(new FormData(form));
  const models = [...new Set(typed.models.trim().split(/\s+/))].slice(0, Number(form.dataset.most));
  answers.replaceChildren();
  stop.hidden = false;
  const number = (text) => (text.trim() === "" ? null : Number(text));
  const slots = { system: typed.system.trim() || null, prompt: typed.prompt, temperature: number(typed.temperature), most: number(typed.most) };
  await Promise.all(models.map((model) => ask(model, dialects[typed.dialect], { ...slots, model }, own, signal)));
  if (running?.signal === signal) stop.hidden = true;
});
stop.addEventListener("click", () => running?.abort());
