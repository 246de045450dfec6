// Draws the charts of the health page from the figures that stand in it, in the colours of the page, as wide as there is
// room. When the figures have been asked for anew, or the page's colours change, they are drawn again.
(() => {
  const HEIGHT_PX = 220;
  const charts = new Map();
  const whole = (u, values) => values.map((n) => (Number.isInteger(n) ? String(n) : ""));
  const seconds = (s) => (s == null ? "–" : s >= 60 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(1)} s`);
  const dollars = (n) => (n == null ? "–" : `$${n.toFixed(n >= 1 || n === 0 ? 2 : 4)}`);
  const KINDS = {
    images: { series: ["completed", "refused", "failed", "uncertain", "canceled"], isStacked: true, values: whole, least: 1,
      colours: ["--good", "--warn", "--bad", "--doubt", "--idle"], show: (n) => (n == null ? "–" : String(n)) },
    seconds: { series: ["average_seconds", "p90_seconds"], labels: ["average", "9 of 10 within"], least: 1,
      values: (u, values) => values.map(seconds), colours: ["--live", "--warn"], show: seconds },
    cost: { series: ["cost_usd"], labels: ["cost"], isStacked: true, least: 0.01,
      values: (u, values) => values.map(dollars), colours: ["--live"], show: dollars },
  };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figures = () => JSON.parse(document.getElementById("chart-data").textContent);
  const shown = (kind, data) => kind.series.map((_, n) => n).filter((n) => n === 0 || data[kind.series[n]].some(Boolean));

  // Bars that stand on each other are drawn as sums, the tallest first, so that what is before it covers the rest.
  function columns(kind, data) {
    const own = shown(kind, data).map((n) => data[kind.series[n]]);
    if (!kind.isStacked) return [data.at, ...own];
    const sums = own.map((_, n) => data.at.map((_, i) => own.slice(0, n + 1).reduce((sum, each) => sum + each[i], 0)));
    return [data.at, ...sums.reverse()];
  }

  function options(kind, data, width) {
    const names = kind.labels ?? kind.series;
    const order = shown(kind, data);
    if (kind.isStacked) order.reverse();
    const bars = uPlot.paths.bars({ size: [0.8, 40], align: 1 });
    const series = order.map((n) => ({
      label: names[n],
      stroke: colour(kind.colours[n]),
      fill: kind.isStacked ? colour(kind.colours[n]) : undefined,
      width: kind.isStacked ? 0 : 2,
      paths: kind.isStacked ? bars : undefined,
      points: kind.isStacked ? { show: false } : { show: true, size: 5 },
      value: (u, _, seriesIndex, i) => kind.show(i == null ? null : figures()[kind.series[n]][i]),
    }));
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const step = data.at.length > 1 ? data.at[1] - data.at[0] : 3600;
    return {
      width, height: HEIGHT_PX, series: [{ label: "from", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...series],
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      axes: [
        { ...axis, grid: { show: false }, space: 60, values: [
          [3600 * 24, "{MM}-{DD}", null, null, null, null, null, null, 1],
          [3600, "{HH}:{mm}", null, null, "\n{MM}-{DD}", null, null, null, 1],
        ] },
        { ...axis, size: 62, values: kind.values },
      ],
      scales: {
        x: { range: () => [data.at[0], data.at.at(-1) + step] },
        y: { range: (u, low, high) => [0, Math.max(high ?? 0, kind.least) * 1.1] },
      },
      cursor: { drag: { x: false, y: false }, y: false, points: { show: !kind.isStacked } },
      legend: { markers: { width: 0, fill: (u, n) => u.series[n].stroke(u, n) } },
    };
  }

  function draw() {
    const data = figures();
    for (const place of document.querySelectorAll("[data-chart]")) {
      const kind = KINDS[place.dataset.chart];
      charts.get(place)?.destroy();
      charts.set(place, new uPlot(options(kind, data, place.clientWidth), columns(kind, data), place));
    }
  }

  draw();
  document.addEventListener("htmx:after:swap", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => {
    for (const [place, chart] of charts) if (place.clientWidth !== chart.width) chart.setSize({ width: place.clientWidth, height: HEIGHT_PX });
  }).observe(document.querySelector(".charts"));
})();
