// Draws the charts of a page from the numbers that stand in it.

const COLOURS = ["#4c6ef5", "#12a594", "#e8890c", "#d6409f", "#7c66dc", "#3a94c7", "#8a9a1f", "#b05f3c", "#848b98"];
const unit = {
  money: (value) => "$" + (Math.abs(value) >= 1 || value === 0 ? value.toFixed(2) : value.toPrecision(2)),
  tokens: (value) => new Intl.NumberFormat(undefined, { notation: "compact" }).format(value),
  count: (value) => new Intl.NumberFormat(undefined, { notation: "compact" }).format(value),
  ms: (value) => (value < 1000 ? `${Number(value.toPrecision(value < 10 ? 2 : 3))} ms` : `${(value / 1000).toFixed(1)} s`),
  share: (value) => `${(100 * value).toFixed(1)} %`,
};

function stacked(series) {
  const sums = series[0].map(() => 0);
  return series.map((values) => values.map((value, at) => (sums[at] += value ?? 0)));
}

// Whether a value has none beside it, so that no line is drawn to it.
function alone(values) {
  return values.some((value, at) => value != null && values[at - 1] == null && values[at + 1] == null);
}

// Ticks of the time axis in the reader's own words: the date where the day begins, else the time.
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const hour = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
function moments(_, ticks, __, ___, step) {
  let last = "";
  return ticks.map((tick) => {
    const at = new Date(tick * 1000), date = day.format(at);
    if (step >= 86400) return date;
    const shown = date === last ? hour.format(at) : `${hour.format(at)}\n${date}`;
    last = date;
    return shown;
  });
}

function draw(figure) {
  const { times, series } = JSON.parse(figure.querySelector("script").textContent);
  const place = figure.querySelector(".plot");
  if (place.firstChild || times.length === 0 || series.length === 0) return;
  if (!series.some((one) => one.values.some((value) => value))) {
    place.textContent = "Nothing in this window.";
    return;
  }
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => { const probe = document.createElement("i"); probe.style.color = `var(${name})`; place.append(probe); const got = getComputedStyle(probe).color; probe.remove(); return got; };
  const soft = colour("--soft"), line = colour("--line");
  const pile = "stacked" in figure.dataset;
  const write = unit[figure.dataset.unit] ?? unit.count;
  const own = series.map((one) => one.values);
  const shown = pile ? stacked(own) : own;
  const rows = series.map((one, at) => ({
    label: one.name,
    stroke: COLOURS[at % COLOURS.length],
    width: pile ? 1 : 2,
    // Drawn from the top of the pile down, each covers what is below its own band.
    fill: pile ? COLOURS[at % COLOURS.length] : undefined,
    points: { show: alone(own[at]), size: 6 },
    value: (_, __, ___, index) => (index === null || own[at][index] == null ? "–" : write(own[at][index])),
  }));
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: `12px ${style.fontFamily}` };
  const order = pile ? [...shown.keys()].reverse() : [...shown.keys()];
  const plot = new uPlot(
    {
      width: Math.max(place.clientWidth, figure.clientWidth - 30),
      height: 200,
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
      axes: [{ ...axis, values: moments }, { ...axis, size: 74, values: (_, ticks) => ticks.map(write) }],
      series: [{ value: (_, at) => (at == null ? "–" : `${day.format(at * 1000)}, ${hour.format(at * 1000)}`) }, ...order.map((at) => rows[at])],
      cursor: { drag: { x: false, y: false } },
    },
    [times.map((at) => at / 1000), ...order.map((at) => shown[at])],
    place,
  );
  new ResizeObserver(() => plot.setSize({ width: figure.clientWidth - 30, height: 200 })).observe(figure);
}

const all = () => { if (window.uPlot) document.querySelectorAll(".chart").forEach(draw); };
document.body.addEventListener("hub:dress", all);
all();
