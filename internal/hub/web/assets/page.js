// The page reads without this module. It keeps a view current, and draws the pictures.

const live = document.getElementById("live");
const link = document.getElementById("link");
const staleAfter = 5000; // ms without a word of the hub

// morph makes one element like another, and touches what differs only: focus, scrolling and pictures stay.
function morph(from, to) {
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name)) from.removeAttribute(name);
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  if (!from.hasAttribute("data-keep")) morphChildren(from, to);
}

function morphChildren(from, to) {
  const byId = new Map();
  for (const child of from.children) if (child.dataset.id !== undefined) byId.set(child.dataset.id, child);
  let here = from.firstChild;
  for (const want of [...to.childNodes]) {
    const id = want.nodeType === 1 ? want.dataset.id : undefined;
    let have = id === undefined ? here : byId.get(id);
    const same = have && have.nodeType === want.nodeType && have.nodeName === want.nodeName &&
      (have.nodeType !== 1 || have.dataset.id === id);
    byId.delete(id);
    if (!same) {
      from.insertBefore(want, here);
      continue;
    }
    if (have !== here) from.insertBefore(have, here);
    else here = here.nextSibling;
    if (have.nodeType === 1) morph(have, want);
    else if (have.data !== want.data) have.data = want.data;
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

let heard = Date.now();
let stale = "";
let over = false;
const asItWas = "The page shows how it was then, and tries again.";

function tell(text) {
  link.hidden = !text;
  if (link.textContent !== text) link.textContent = text;
}

function follow() {
  const source = new EventSource(live.dataset.live);
  source.addEventListener("view", (e) => {
    hear("");
    const fresh = document.createElement("template");
    fresh.innerHTML = e.data; // from the same hub as the page itself; the policy forbids scripts in it
    morphChildren(live, fresh.content);
    draw();
  });
  source.addEventListener("ping", () => hear(""));
  source.addEventListener("unreachable", (e) => hear(`The hub cannot read the store: ${decodeURIComponent(e.data)}. ${asItWas}`));
  source.addEventListener("ended", (e) => {
    over = true;
    source.close();
    tell("This page is no longer current: " + decodeURIComponent(e.data) + " Load it again.");
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED && !over) {
      source.close();
      setTimeout(follow, 2000);
    }
  });
}

// hear notes a word of the hub. why says that the page is not current; "": it is.
function hear(why) {
  heard = Date.now();
  stale = why;
  tell(stale);
}

setInterval(() => {
  const ago = Date.now() - heard;
  if (!over) tell(ago < staleAfter ? stale : `No answer from the hub for ${Math.round(ago / 1000)} s. ${asItWas}`);
}, 1000);

// The pictures: a dot for each node and publish, and how many nodes had the newest version after a time.

let plots = null;
let drawn = "";
let busy = false;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const showMs = (ms) => ms == null ? "" : ms < 10 ? `${+ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;

async function draw() {
  const place = document.getElementById("pictures");
  if (!place || busy || place.dataset.seq === drawn || typeof uPlot === "undefined") return;
  busy = true;
  const seq = place.dataset.seq;
  try {
    const answer = await fetch(place.dataset.points, { headers: { Accept: "application/json" } });
    if (answer.ok) show(place, await answer.json());
    drawn = seq;
  } catch { // the stream says that the hub is away
  } finally {
    busy = false;
    if (document.getElementById("pictures")?.dataset.seq !== drawn) setTimeout(draw, 400);
  }
}

function show(place, p) {
  const versions = p.publishes.map((s) => s.version).join(" ");
  const known = p.publishes.some((s) => s.ms.some((ms) => ms != null));
  if (!known) {
    plots?.all.forEach((u) => u.destroy());
    plots = null;
    place.replaceChildren();
    return;
  }
  if (!plots || plots.versions !== versions || !plots.scatter.root.isConnected) build(place, p, versions);
  plots.nodes = p.nodes;
  plots.scatter.setData([p.nodes.map((_, i) => i), ...p.publishes.map((s) => s.ms)]);
  plots.curve.setData([[0, ...p.curve.ms], [0, ...p.curve.nodes]]);
  const last = p.publishes.at(-1);
  const worst = last.ms.reduce((w, ms, i) => (ms != null && (w < 0 || ms > last.ms[w]) ? i : w), -1);
  plots.rest = worst < 0 ? "" : `slowest: ${p.nodes[worst]}, ${showMs(last.ms[worst])}`;
  if (!plots.over) plots.tip.textContent = plots.rest;
  plots.scatterBox.setAttribute("aria-label", `Delivery time of ${p.nodes.length} nodes for ${p.publishes.length} publishes; ${plots.rest}`);
  plots.count.textContent = `${p.curve.nodes.length} of ${p.curve.of} nodes`;
}

// decades are powers of ten around the values: without them, uPlot hangs on a scale of one value.
function decades(min, max) {
  if (!(min > 0)) return [1, 1000];
  const low = Math.floor(Math.log10(min)), high = Math.ceil(Math.log10(max));
  return [10 ** low, 10 ** Math.max(high, low + 1)];
}

function figure(place, caption, label) {
  const f = document.createElement("figure");
  const c = document.createElement("figcaption");
  const box = document.createElement("div");
  c.append(...caption);
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", label);
  f.append(c, box);
  place.append(f);
  return box;
}

function words(tag, text) {
  const e = document.createElement(tag);
  e.textContent = text;
  return e;
}

function build(place, p, versions) {
  plots?.all.forEach((u) => u.destroy());
  place.replaceChildren();
  const tip = words("span", "");
  tip.className = "tip";
  const newest = p.publishes.at(-1).version;
  const older = p.publishes.length > 1 ? ` · older publishes are hollow: ${p.publishes.slice(0, -1).map((s) => s.version).join(", ")}` : "";
  const scatterBox = figure(place, [words("b", "Delivery time of each node"), ` · version ${newest} is solid${older} · `, tip], "");
  const count = words("span", "");
  const curveBox = figure(place, [words("b", `Arrival of version ${newest}`), " · ", count], `How many nodes had version ${newest} after a time`);
  const ink = css("--soft"), grid = css("--rule"), main = css("--link");
  const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
  const size = (box) => ({ width: Math.max(280, box.parentElement.clientWidth), height: 240 });
  const self = { versions, tip, count, scatterBox, nodes: p.nodes, rest: "", over: false };
  self.scatter = new uPlot({
    ...size(scatterBox),
    scales: { x: { time: false, range: (u, min, max) => [min - 0.5, max + 0.5] }, y: { distr: 3, log: 10, range: (u, min, max) => decades(min, max) } },
    axes: [{ ...axis, values: () => [], label: "nodes, by name", labelSize: 18, size: 14, stroke: ink },
      { ...axis, size: 64, values: (u, all) => all.map(showMs) }],
    series: [{}, ...p.publishes.map((s, i) => {
      const last = i === p.publishes.length - 1;
      return { label: `version ${s.version}`, paths: () => null, stroke: last ? main : ink,
        points: { show: true, size: p.nodes.length > 1000 ? 3 : last ? 6 : 5, width: 1, fill: last ? main : css("--back"), stroke: last ? main : ink } };
    })],
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    hooks: { setCursor: [(u) => {
      const i = u.cursor.idx;
      self.over = i != null;
      const ms = i == null ? null : u.data[u.data.length - 1][i];
      tip.textContent = i == null ? self.rest : `${self.nodes[i]}: ${ms == null ? "not measured" : showMs(ms)}`;
    }] },
  }, [[0], ...p.publishes.map(() => [null])], scatterBox);
  self.scatter.over.addEventListener("click", () => {
    const i = self.scatter.cursor.idx;
    if (i != null) location.assign("/node/" + encodeURIComponent(self.nodes[i]));
  });
  self.curve = new uPlot({
    ...size(curveBox),
    scales: { x: { time: false, range: (u, min, max) => [0, Math.max(1, max)] }, y: { range: (u, min, max) => [0, Math.max(1, max)] } },
    axes: [{ ...axis, values: (u, all) => all.map(showMs) }, { ...axis, size: 50, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000] }],
    series: [{}, { label: "nodes", stroke: main, width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
    legend: { show: false },
    cursor: { show: false },
  }, [[0], [0]], curveBox);
  self.all = [self.scatter, self.curve];
  plots = self;
}

addEventListener("resize", () => plots?.all.forEach((u) => u.setSize({ width: Math.max(280, u.root.parentElement.parentElement.clientWidth), height: 240 })));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (plots) { plots.versions = ""; drawn = ""; draw(); } });

if (live.dataset.live) {
  follow();
  draw();
}
