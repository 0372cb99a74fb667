// Puts calls at the top of the table as they end, and keeps the table at a bounded length.

const table = document.querySelector("#calls[data-feed]");
const MOST = 200;

function made(tag, text, className) {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (className) one.className = className;
  return one;
}

const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const money = (value) => (value === null ? "–" : value === 0 ? "$0" : Math.abs(value) >= 1 ? `$${value.toFixed(2)}` : `$${Number(value.toPrecision(3))}`);
const took = (ms) => (ms < 1000 ? `${ms}\u202fms` : `${(ms / 1000).toPrecision(3)}\u202fs`);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function row(call) {
  const line = made("tr");
  const head = made("th");
  head.scope = "row";
  const link = made("a");
  link.href = `/dashboard/requests/${encodeURIComponent(call.requestId)}`;
  const at = made("time", clock.format(new Date(call.time)));
  at.title = whole.format(new Date(call.time));
  at.dateTime = call.time;
  link.append(at);
  head.append(link);
  const by = made("td", call.model);
  if (call.account) by.append(" ", made("small", call.account));
  if (call.source !== "upstream") by.append(" ", made("span", call.source, "badge plain"));
  if (call.fallbacks) by.append(" ", made("span", `${call.fallbacks} fallback${call.fallbacks > 1 ? "s" : ""}`, "badge warn"));
  const outcome = made("td");
  const words = call.outcome === "error" ? `${call.status} ${call.errorCode}` : call.outcome;
  outcome.append(made("span", words, `badge ${{ ok: "ok", error: "bad" }[call.outcome] ?? "plain"}`));
  line.append(
    head,
    made("td", call.requestedModel),
    by,
    made("td", call.apiKeyName),
    outcome,
    made("td", compact.format(call.inputTokens + call.cacheReadTokens + call.cacheWriteTokens), "num"),
    made("td", compact.format(call.outputTokens), "num"),
    made("td", money(call.cost), "num"),
    made("td", took(call.latencyMs), "num"),
  );
  return line;
}

if (table) {
  const body = table.tBodies[0];
  const state = document.querySelector("#feed-state");
  const button = document.querySelector("#pause");
  const running = document.querySelector("#running");
  let held = null;
  let missed = 0;
  let others = 0;

  const say = (words, kind) => { state.textContent = words; state.className = `badge ${kind}`; };
  // What is not shown is said: calls that came too fast, and other processes that cannot be heard.
  const live = () => {
    const words = ["live"];
    if (others === null) words.push("only this process can be heard");
    else if (others) words.push(`with ${others} more process${others > 1 ? "es" : ""}`);
    if (missed) words.push(`${missed} left out`);
    say(words.join(", "), others === null ? "warn" : "ok");
  };
  const show = (calls) => {
    const lines = document.createDocumentFragment();
    for (const call of calls.slice(-MOST).reverse()) lines.append(row(call));
    body.prepend(lines);
    while (body.rows.length > MOST) body.lastElementChild.remove();
    document.querySelector("main .empty")?.remove();
  };

  const feed = new EventSource(table.dataset.feed);
  feed.onopen = () => { if (!held) live(); };
  feed.onerror = () => say("connecting again", "warn");
  feed.onmessage = (event) => {
    const news = JSON.parse(event.data);
    running.hidden = news.running === 0;
    running.replaceChildren(made("span", news.running), " running now");
    missed += news.leftOut;
    others = news.others;
    if (held) {
      held.push(...news.calls);
      held.splice(0, held.length - MOST);
      say(`paused, ${held.length} waiting`, "warn");
    } else {
      show(news.calls);
      live();
    }
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    if (held) { const calls = held; held = null; show(calls); live(); } else { held = []; say("paused", "warn"); }
    button.textContent = held ? "Go on" : "Pause";
  });
  addEventListener("pagehide", () => feed.close());
}
