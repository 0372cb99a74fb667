// What makes the pages quicker to use; every page works without it.

const typing = (where) => where.closest("input, textarea, select, [contenteditable]") !== null;

// Times in the reader's own zone; of today only the time is shown, and the date when one points at it.
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const today = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    const whole = clock.format(at);
    if (!time.title) time.textContent = at.toDateString() === new Date().toDateString() ? today.format(at) : whole;
    time.title = whole;
  }
}

// Buttons that only scripts can make work are shown by scripts.
function reveal(root) {
  for (const one of root.querySelectorAll("[data-copy], .picker")) one.hidden = false;
}

async function copy(button) {
  const text = document.querySelector(button.dataset.copy)?.textContent ?? "";
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Press Ctrl+C";
    getSelection().selectAllChildren(document.querySelector(button.dataset.copy));
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// A model that was picked becomes a line of the text.
function add(button) {
  const typed = button.closest(".picker").querySelector("input"), text = document.querySelector(button.dataset.adds);
  if (!typed.value.trim()) { typed.focus(); return; }
  text.value = [...text.value.split("\n").filter((line) => line.trim()), typed.value.trim()].join("\n");
  typed.value = "";
  typed.focus();
}

// Keys: / searches, j and k walk through rows, g and a letter go to a page, ? says all this.
let gone = 0;
function walk(step) {
  const rows = [...document.querySelectorAll("main table[data-rows] tbody tr")].filter((row) => row.querySelector("a"));
  if (rows.length === 0) return;
  const now = rows.indexOf(document.activeElement?.closest("tr"));
  const next = now < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(now + step, 0), rows.length - 1);
  rows[next].querySelector("a").focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

const keys = {
  "/": () => document.querySelector(".find input").focus(),
  "?": () => document.querySelector("#help").showModal(),
  j: () => walk(1),
  k: () => walk(-1),
  g: () => { gone = Date.now(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  if (Date.now() - gone < 1200) {
    gone = 0;
    const link = document.querySelector(`.side a[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); location.assign(link.href); return; }
  }
  const act = keys[event.key];
  if (act) { event.preventDefault(); act(); }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const adds = event.target.closest("[data-adds]");
  if (adds) add(adds);
});

// A choice that needs no button where there are scripts.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-send]")) event.target.form.requestSubmit();
});

function dress(root) {
  localise(root);
  reveal(root);
  root.dispatchEvent(new CustomEvent("hub:dress", { bubbles: true }));
}
dress(document.body);
document.addEventListener("htmx:after:swap", () => dress(document.body));

// Whoever comes back from a provider's page in another tab has most likely finished there.
document.addEventListener("visibilitychange", () => {
  const pasted = document.querySelector("main input:focus") ?? document.querySelector("#code")?.value;
  if (!document.hidden && !pasted) document.querySelector("form[data-back]")?.requestSubmit();
});
