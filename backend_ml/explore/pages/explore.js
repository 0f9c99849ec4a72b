// The search page. It asks the backend for everything and keeps nothing but what is on the screen.

const HOME = new URL("..", import.meta.url).pathname.replace(/\/$/, ""); // /explore, below whatever prefix a proxy takes off
const $ = (id) => document.getElementById(id);
const SYMBOLS = { yes: "✓", no: "✕", unsure: "?" };
const VIEWS = [["rgb", "Colour", "r"], ["g", "g", "v"], ["r", "r", "v"], ["z", "z", "v"], ["faint", "Faint", "f"], ["bright", "Bright", "b"]];
const RESTORED = [
  ["restored", "Restored", "Restored: the stamp as the decoder behind the search's encoder draws it without noise. Fine detail may be the decoder's guess."],
  ["residual", "Taken away", "Taken away, the residual: the stamp minus its restored picture. Grey is nothing, brighter is light that was taken for noise, darker is light that was put in."],
];
const NO_DECODER = "Neither a restored picture nor a residual: the encoder of this search has no decoder.";
const VIEW_KEYS = { r: "rgb", f: "faint", b: "bright" };
const UNUSUAL = "unusual"; // what a search may begin with alone
const LABEL_KEYS = { y: "yes", n: "no", u: "unsure", 2: "yes", 1: "no", 8: "unsure" }; // in Label Studio too: label_config/interest.xml

let session = { person: null, csrf: "" };
let search = null; // as the backend describes it
let round = null; // its stamps are what the grid shows
let view = "rgb";
let current = 0; // place in the grid
let sending = Promise.resolve(); // labels go out one after another
let chartTimer = 0;
let drawTimer = 0; // looks whether simulated galaxies are drawn
let pools = [];
let plane = { points: [], labels: {}, chosen: null };

// Elements and messages

function element(tag, attributes = {}, ...children) {
  const made = document.createElementNS(tag.startsWith("svg:") ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag.replace("svg:", ""));
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

// Good news that everybody should see, for some seconds
let toldTimer = 0;
function tell(text) {
  say(text);
  clearTimeout(toldTimer);
  $("told").textContent = text;
  $("told").hidden = false;
  toldTimer = setTimeout(() => ($("told").hidden = true), 8000);
}

function say(text) {
  $("status").textContent = text;
}

const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);
const when = (time) => new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "short" });

class Refusal extends Error {
  constructor(status, problem) {
    super(`${problem.message} ${problem.hint}`.trim());
    this.status = status;
    this.code = problem.code;
  }
}

async function call(method, path, body = undefined) {
  const headers = method === "GET" ? {} : { "X-CSRF-Token": session.csrf };
  const file = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = file ? "application/octet-stream" : "application/json";
  let answer;
  try {
    answer = await fetch(`${HOME}/api${path}`, { method, headers, body: file || body === undefined ? body : JSON.stringify(body) });
  } catch {
    throw new Refusal(0, { message: "The backend does not answer.", hint: "Check the connection, then try again.", code: "away" });
  }
  const text = await answer.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = { message: `The backend answered ${answer.status}.`, hint: "", code: "unreadable" };
  }
  if (!answer.ok) throw new Refusal(answer.status, value);
  return value;
}

async function attempt(work, button = null) {
  notice("");
  if (button) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    notice(error.message);
    const open = document.querySelector("dialog[open]");
    if (open) open.prepend($("notice"));
    if (error.status === 401 && session.person) await begin();
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

// Which part of the page is shown

function show(part) {
  for (const id of ["sign-in", "start", "search"]) $(id).hidden = id !== part;
}

async function begin() {
  session = await call("GET", "/session");
  $("who").hidden = !session.person;
  $("person").textContent = session.person ?? "";
  $("title").textContent = "";
  if (!session.person) {
    $("grid").replaceChildren();
    return showSignIn();
  }
  const found = location.pathname.match(/\/explore\/(\d+)$/);
  return found ? showSearch(Number(found[1])) : showStart();
}

function showSignIn() {
  $("by-password").hidden = !session.ways.password;
  $("account").href = session.ways.label_studio;
  show("sign-in");
  (session.ways.password ? $("name") : $("token")).focus();
}

function signIn(form, read) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      await call("POST", "/session", read());
      form.reset();
      await begin();
    }, form.querySelector("button"));
  });
}

async function showStart() {
  const { searches, simulated, ...known } = await call("GET", "/searches");
  pools = known.pools;
  document.title = "Galaxy Loop search";
  $("searches").replaceChildren(...searches.map(searchLink));
  $("no-searches").hidden = searches.length > 0;
  const options = pools.map((pool) => element("option", { value: pool.name }, `${pool.name} · ${pool.stamps.toLocaleString()} stamps`));
  $("pool").replaceChildren(...options);
  $("new-search").querySelector("button").disabled = !pools.length;
  if (!pools.length) notice("No stamp set with features is registered here: run `galaxyloop explore STAMPS`, or create a campaign.");
  showConcepts(simulated);
  show("start");
}

function showConcepts(concepts) {
  $("simulated").hidden = !concepts.length || !pools.length;
  const choice = (concept) => element("input", { type: "radio", name: "concept", value: concept?.name ?? "", checked: !concept, onchange: () => describeConcept(concept) });
  $("concepts").replaceChildren(element("label", { class: "nothing" }, choice(null), element("span", {}, "nothing")), ...concepts.map((one) =>
    element("label", {}, choice(one), element("img", { src: `${HOME}/api/simulated/${one.name}.png`, alt: "", width: 160, height: 160, loading: "lazy" }), element("span", {}, one.name))));
  describeConcept(null);
}

function describeConcept(concept) {
  const pool = pools.find((one) => one.name === $("pool").value);
  $("concept-words").textContent = concept ? `${concept.words[0].toUpperCase()}${concept.words.slice(1)}: ${pool?.simulated[concept.name] ?? ""}.` : "Galaxies are drawn and compared with yours, so that you need no example.";
  $("search-name").placeholder = concept ? galaxiesOf(concept.name) : "Ring galaxies";
  $("search-name").required = !concept;
}

const galaxiesOf = (what) => `${what} galaxies`;
const chosenConcept = () => document.querySelector("#concepts input:checked")?.value ?? "";

function searchLink(one) {
  const facts = [one.stamp_set, `${one.yes} yes, ${one.no} no`, one.rounds === 1 ? "1 round" : `${one.rounds} rounds`];
  if (one.project !== null) facts.push("in Label Studio");
  if (one.state === "closed") facts.push("closed");
  return element("li", {}, element("a", { href: `${HOME}/${one.id}` }, element("strong", {}, one.name), element("span", {}, facts.join(" · "))));
}

// A search

async function showSearch(id) {
  try {
    search = await call("GET", `/searches/${id}`);
  } catch (error) {
    if (error.status !== 404) throw error;
    notice(error.message);
    return showStart();
  }
  document.title = `${search.name} · Galaxy Loop search`;
  $("title").textContent = search.name;
  $("policy").replaceChildren(...search.policies.map((name) => element("option", { value: name }, search.titles[name])));
  if (!search.labels.yes && (search.round?.policy ?? location.hash.slice(1)) === UNUSUAL) $("policy").value = UNUSUAL;
  const closed = search.state === "closed";
  for (const name of ["yes", "no", "unsure", "undo", "rest-no", "next", "open-examples", "open-send"]) $(name).disabled = closed;
  if (closed) notice("This search is closed: it can be read, and takes no more labels.");
  showPictures();
  showProject();
  $("download").href = `${HOME}/api${path("/found.csv")}`;
  show("search");
  if (search.round || closed) showRound(search.round ?? { stamps: [], policy: "" });
  else if (drawn()) await nextRound();
  return drawChart();
}

// Whether rounds can be shown: until a worker has drawn the simulated galaxies this says how far it is, and looks again.
function drawn() {
  const began = search.simulated;
  const waits = Boolean(began) && !began.drawn;
  clearTimeout(drawTimer);
  $("drawing").hidden = !waits;
  $("next").disabled = waits || search.state === "closed";
  if (!waits) return true;
  const { progress, problem } = began;
  $("drawing-progress").hidden = Boolean(problem);
  if (progress) {
    $("drawing-progress").max = progress.total;
    $("drawing-progress").value = progress.done;
  } else $("drawing-progress").removeAttribute("value");
  $("drawing-words").textContent = problem ?? (progress
    ? `The simulator draws galaxies to compare yours with: ${progress.done.toLocaleString()} of ${progress.total.toLocaleString()}. It does so once for each model.`
    : "Simulated galaxies wait for a worker to draw them: is `galaxyloop worker` running?");
  $("grid").replaceChildren();
  $("empty").hidden = true;
  const id = search.id;
  drawTimer = setTimeout(() => attempt(async () => {
    if (search?.id !== id || $("search").hidden) return;
    search = await call("GET", path());
    if (drawn()) await nextRound();
  }), 2000);
  return false;
}

const path = (rest = "") => `/searches/${search.id}${rest}`;
const picture = (stamp) => `${HOME}/api${path(`/stamps/${stamp}.png`)}?view=${view}`;

async function nextRound() {
  await sending;
  const size = Number($("size").value);
  const where = $("where").value.split(";").map((one) => one.trim()).filter(Boolean);
  const made = await call("POST", path("/rounds"), { size, policy: $("policy").value, where, unseen: $("unseen").checked });
  search.labels = made.labels;
  if (made.set_apart) tell(`${made.set_apart} stamps that show no galaxy, or were hardly observed, come last.`);
  if (made.left_out) notice(`${made.left_out} stamps have features that are not finite and cannot be found.`);
  showRound(made);
  scrollTo(0, 0);
  drawChart();
}

function showRound(made) {
  round = made;
  current = 0;
  $("grid").replaceChildren(...round.stamps.map(tile));
  $("empty").hidden = round.stamps.length > 0;
  $("empty").textContent = "Every galaxy of this stamp set has a label.";
  describeRound();
  focusTile(0);
}

function describeRound() {
  if (!round) return; // while simulated galaxies are drawn there is none
  const { yes = 0, no = 0, unsure = 0 } = search.labels;
  const chosen = search.titles[round.policy] ?? round.policy;
  const share = round.prior_share ? `${percent(round.prior_share)} ` : "";
  const began = search.simulated ? ` · ${share}simulated ${search.simulated.concept} (${search.simulated.measured})` : "";
  $("round-line").replaceChildren(
    element("b", {}, `${yes} yes`), `, ${no} no, ${unsure} unsure of ${search.stamps.toLocaleString()}`, chosen ? ` · this round: ${chosen.toLowerCase()}` : "", began,
  );
}

function tile(stamp, place) {
  const facts = element("div", { class: "facts" }, element("span", { title: "Probability of yes, and similarity to the nearest yes" }, likelihood(stamp)), whyLink(stamp, -1));
  const made = element("li", { role: "option", tabindex: place === 0 ? 0 : -1, "data-stamp": stamp.stamp_id, onclick: () => focusTile(place), onfocus: () => (current = place) },
    element("span", { class: "symbol", "aria-hidden": "true" }),
    element("img", { src: picture(stamp.stamp_id), alt: "", width: 480, height: 480, draggable: "false" }), facts, element("div", { class: "others" }));
  facts.before(element("div", { class: "name", title: `${stamp.name} row ${stamp.stamp_id}` }, calledOf(stamp)));
  if (stamp.reason) facts.after(element("div", { class: "place reason" }, stamp.reason));
  if (stamp.position) facts.after(element("div", { class: "place" }, placeOf(stamp)));
  made.addEventListener("dblclick", () => attempt(() => enlarge(stamp)));
  paint(made, stamp);
  return made;
}

const calledOf = (stamp) => stamp.name || `#${stamp.stamp_id}`;
const placeOf = ({ position }) => `${position.ra.toFixed(4)}, ${position.dec >= 0 ? "+" : ""}${position.dec.toFixed(4)}`;

// One galaxy, as large as the page: every look at it, and what the catalogue says.
async function enlarge(stamp) {
  const known = await call("GET", path(`/stamps/${stamp.stamp_id}`));
  const small = (look) => `${HOME}/api${path(`/stamps/${stamp.stamp_id}.png`)}?view=${look}`;
  const large = (look) => `${small(look)}&large=true`;
  const shown = element("img", { src: large(view), alt: known.name || `Galaxy ${stamp.stamp_id}`, width: 960, height: 960 });
  const told = element("p", { class: "hint", role: "status" }, known.restores ? "" : NO_DECODER);
  const show = (pressed, address, words) => {
    shown.src = address;
    told.textContent = words;
    for (const one of looks) one.setAttribute("aria-pressed", String(one === pressed));
  };
  const looks = VIEWS.map(([look, title]) => element("button", { type: "button", "aria-pressed": String(look === view), onclick: (event) => show(event.currentTarget, large(look), known.restores ? "" : NO_DECODER) }, element("img", { src: small(look), alt: "", width: 96, height: 96, loading: "lazy" }), element("span", {}, title)));
  // restored when asked for: that takes seconds
  if (known.restores) for (const [look, title, words] of RESTORED) looks.push(element("button", { type: "button", class: "restored", "aria-pressed": "false", onclick: (event) => show(event.currentTarget, `${HOME}/api${path(`/stamps/${stamp.stamp_id}/${look}.jpg`)}`, words) }, element("span", {}, title)));
  const listed = (rows) => element("dl", {}, ...Object.entries(rows).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  const all = Object.keys(known.columns).length ? element("details", {}, element("summary", {}, "All columns of the catalogue"), element("p", { class: "hint" }, "As they stand in the set; one of them may tell what the galaxy is."), listed(known.columns)) : "";
  const links = [whyLink(known, 0), known.legacy ? element("a", { href: known.legacy, target: "_blank", rel: "noopener" }, "Legacy Survey viewer") : null];
  $("galaxy-title").textContent = calledOf(known);
  $("galaxy-body").replaceChildren(shown, element("div", {}, element("div", { class: "looks" }, ...looks), told,
    element("p", { class: "hint" }, likelihood(stamp)), listed(known.catalogue), all, element("p", { class: "links" }, ...links.filter(Boolean)), element("p", { class: "hint" }, known.framing)));
  openDialog("galaxy");
}

function whyLink(stamp, tabindex) {
  return element("a", { href: stamp.why, target: "_blank", rel: "noopener", tabindex }, "why?");
}

function likelihood(stamp) {
  if (stamp.probability === null) return "";
  const near = stamp.similarity === null ? "" : ` · ~${stamp.similarity.toFixed(2)}`;
  return `${percent(stamp.probability)}${near}`;
}

function paint(made, stamp) {
  made.className = stamp.mine ?? "";
  const symbol = made.querySelector(".symbol");
  symbol.className = `symbol ${stamp.mine ?? ""}`;
  symbol.textContent = SYMBOLS[stamp.mine] ?? "";
  symbol.hidden = !stamp.mine;
  made.querySelector(".others").textContent = stamp.others.map((other) => `${SYMBOLS[other.label] ?? other.label} ${other.person}`).join(", ");
  made.setAttribute("aria-selected", String(Boolean(stamp.mine)));
  const likely = stamp.probability === null ? "" : `, ${percent(stamp.probability)} likely`;
  made.setAttribute("aria-label", `Galaxy ${stamp.stamp_id}${likely}, ${stamp.mine ? `labelled ${stamp.mine}` : "unlabelled"}`);
}

function focusTile(place) {
  const tiles = $("grid").children;
  if (!tiles.length) return;
  current = Math.min(Math.max(place, 0), tiles.length - 1);
  for (const [i, one] of [...tiles].entries()) one.tabIndex = i === current ? 0 : -1;
  tiles[current].focus({ preventScroll: true });
  tiles[current].scrollIntoView({ block: "nearest" });
}

function columns() {
  const tiles = [...$("grid").children];
  const below = tiles.findIndex((one) => one.offsetTop > tiles[0].offsetTop);
  return below < 0 ? tiles.length : below;
}

// Labels

function knownStamp(id) {
  return round?.stamps.find((stamp) => stamp.stamp_id === id);
}

function put(id, label) {
  const before = plane.labels[id] ?? knownStamp(id)?.mine ?? null;
  const stamp = knownStamp(id);
  if (stamp) {
    stamp.mine = label;
    paint($("grid").querySelector(`[data-stamp="${id}"]`), stamp);
  }
  if (label) plane.labels[id] = label;
  else delete plane.labels[id];
  if (before) search.labels[before] -= 1;
  if (label) search.labels[label] = (search.labels[label] ?? 0) + 1;
  // from what is liked the search goes on as any other does
  if (label === "yes" && search.labels.yes === 1 && $("policy").value === UNUSUAL) $("policy").value = search.policies[0];
  describeRound();
  if ($("map").open) drawPlane();
  return before;
}

function putLabel(id, label) {
  const before = put(id, label);
  say(label ? `Galaxy ${id}: ${label}` : `Galaxy ${id}: cleared`);
  sending = sending.then(() =>
    attempt(() => (label ? call("POST", path("/labels"), { stamp_id: id, label }) : call("DELETE", path(`/labels/${id}`)))).then((done) => {
      if (done === undefined) put(id, before);
    }),
  );
  return sending;
}

function labelCurrent(label) {
  const stamp = round?.stamps[current];
  if (!stamp || search.state === "closed") return;
  putLabel(stamp.stamp_id, label).then(chartSoon);
  const ahead = round.stamps.findIndex((one, place) => place > current && !one.mine);
  focusTile(ahead < 0 ? current : ahead);
}

async function undo() {
  await sending;
  const taken = await attempt(() => call("POST", path("/undo")), $("undo"));
  if (!taken) return;
  put(taken.stamp_id, null);
  say(`Galaxy ${taken.stamp_id}: your label is taken back`);
  const place = round.stamps.findIndex((stamp) => stamp.stamp_id === taken.stamp_id);
  if (place >= 0 && !$("map").open) focusTile(place);
  chartSoon();
}

function labelRest() {
  for (const stamp of round.stamps) if (!stamp.mine) putLabel(stamp.stamp_id, "no");
  sending.then(chartSoon);
}

async function watchOthers() {
  if (document.hidden || !search || !session.person || $("search").hidden) return;
  await sending;
  const seen = round;
  const state = await call("GET", path()).catch(() => null);
  if (!state || round !== seen || state.round?.id !== round?.id) return;
  search.labels = state.labels;
  for (const stamp of round?.stamps ?? []) {
    stamp.others = state.round.stamps.find((one) => one.stamp_id === stamp.stamp_id)?.others ?? [];
    paint($("grid").querySelector(`[data-stamp="${stamp.stamp_id}"]`), stamp);
  }
  describeRound();
}

// Precision and history

function chartSoon() {
  clearTimeout(chartTimer);
  chartTimer = setTimeout(drawChart, 250);
}

async function drawChart() {
  const { rounds } = await call("GET", path("/history")).catch(() => ({ rounds: [] }));
  const known = rounds.filter((one) => one.precision !== null);
  if (!known.length) return $("chart").replaceChildren();
  const x = (i) => 24 + (known.length === 1 ? 95 : (190 * i) / (known.length - 1));
  const y = (share) => 40 - 34 * share;
  const points = known.map((one, i) => `${x(i)},${y(one.precision)}`).join(" ");
  const last = known[known.length - 1];
  const label = `Precision by round: ${known.map((one) => percent(one.precision)).join(", ")}`;
  return $("chart").replaceChildren(
    element("svg:svg", { viewBox: "0 0 240 54", role: "img", "aria-label": label },
      element("svg:path", { class: "frame", d: "M20 4V40H224" }),
      element("svg:text", { x: 0, y: 9 }, "1"), element("svg:text", { x: 0, y: 43 }, "0"),
      element("svg:text", { x: 24, y: 53 }, `precision by round, last ${percent(last.precision)}`),
      element("svg:polyline", { class: "course", points }),
      ...known.map((one, i) => element("svg:circle", { cx: x(i), cy: y(one.precision), r: 3 }, element("svg:title", {}, `Round ${one.number}: ${percent(one.precision)}`)))),
  );
}

const row = (...cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));

async function showHistory() {
  await sending;
  const { rounds, events } = await call("GET", path("/history"));
  $("rounds").tBodies[0].replaceChildren(...rounds.map((one) =>
    row(String(one.number), percent(one.precision), String(one.yes), String(one.no), one.person, search.titles[one.policy] ?? one.policy, when(one.made_at))));
  $("events").tBodies[0].replaceChildren(...events.map((one) => row(one.stamp_id === null ? "–" : `#${one.stamp_id}`, labelOf(one), one.person, when(one.happened_at))));
  openDialog("history");
}

function labelOf(event) {
  if (event.action === "withdrawn" || event.action === "deleted") return "taken back";
  return element("span", { class: event.label ?? "" }, `${SYMBOLS[event.label] ?? ""} ${event.label ?? "–"}`);
}

// The map

async function showMap() {
  await sending;
  const found = await call("GET", path("/map"));
  plane = { points: found.points, labels: found.labels, chosen: null };
  $("detail").replaceChildren(element("p", { class: "hint" }, "Choose a point to see its galaxy."));
  openDialog("map");
  drawPlane();
  $("plane").focus();
}

const SIDE = 640;
const MARGIN = 16;
const onPlane = (value) => MARGIN + value * (SIDE - 2 * MARGIN);

function drawPlane() {
  const context = $("plane").getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  const shown = new Set((round?.stamps ?? []).map((stamp) => stamp.stamp_id));
  const probe = element("span");
  $("map").append(probe);
  const resolve = (name) => {
    probe.style.color = colour(name);
    return getComputedStyle(probe).color;
  };
  const colours = Object.fromEntries(["yes", "no", "unsure", "line", "text", "accent"].map((name) => [name, resolve(name)]));
  probe.remove();
  context.clearRect(0, 0, SIDE, SIDE);
  const later = [];
  for (const point of plane.points) {
    if (plane.labels[point[0]] || shown.has(point[0]) || point[0] === plane.chosen) later.push(point);
    else dot(context, point, colours.line);
  }
  for (const point of later) {
    const label = plane.labels[point[0]];
    if (label) symbol(context, point, label, colours[label] ?? colours.text);
    else dot(context, point, colours.line);
    if (shown.has(point[0])) circle(context, point, 8, colours.text, 1.5);
    if (point[0] === plane.chosen) circle(context, point, 13, colours.accent, 3);
  }
}

function dot(context, [, x, y], colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(onPlane(x), onPlane(1 - y), 2.2, 0, 7);
  context.fill();
}

function circle(context, [, x, y], radius, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.arc(onPlane(x), onPlane(1 - y), radius, 0, 7);
  context.stroke();
}

function symbol(context, [, x, y], label, colour) {
  context.fillStyle = colour;
  context.font = "bold 17px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(SYMBOLS[label] ?? "•", onPlane(x), onPlane(1 - y));
}

function nearestPoint(event) {
  const box = $("plane").getBoundingClientRect();
  const scale = SIDE / Math.min(box.width, box.height);
  const px = (event.clientX - box.left - (box.width - SIDE / scale) / 2) * scale;
  const py = (event.clientY - box.top - (box.height - SIDE / scale) / 2) * scale;
  let best = null;
  for (const point of plane.points) {
    const distance = Math.hypot(onPlane(point[1]) - px, onPlane(1 - point[2]) - py);
    if (distance < 18 && (!best || distance < best.distance)) best = { point, distance };
  }
  return best?.point;
}

function neighbour(key) {
  const start = plane.points.find((point) => point[0] === plane.chosen);
  if (!start) return plane.points[0];
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
  let best = null;
  for (const point of plane.points) {
    const [across, up] = [point[1] - start[1], point[2] - start[2]];
    const along = across * dx + up * dy;
    const aside = Math.abs(across * dy) + Math.abs(up * dx);
    if (along > 0 && aside <= along && (!best || along + aside < best.cost)) best = { point, cost: along + aside };
  }
  return best?.point;
}

async function choosePoint(point) {
  if (!point) return;
  plane.chosen = point[0];
  drawPlane();
  const stamp = await call("GET", path(`/stamps/${point[0]}`));
  if (plane.chosen !== stamp.stamp_id) return;
  const facts = Object.entries(stamp.catalogue).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  const others = stamp.others.map((other) => `${other.person}: ${other.label}`).join(", ");
  const buttons = Object.entries(SYMBOLS).map(([label, sign]) =>
    element("button", { type: "button", disabled: search.state === "closed", onclick: () => putLabel(stamp.stamp_id, label) }, `${sign} ${label}`));
  $("detail").replaceChildren(
    element("img", { src: picture(stamp.stamp_id), alt: `Galaxy ${stamp.stamp_id}`, width: 480, height: 480 }),
    element("div", { class: "bar" }, ...buttons), element("dl", {}, ...facts), element("p", {}, whyLink(stamp, 0)), ...(others ? [element("p", { class: "hint" }, others)] : []),
  );
}

// Examples and sending

function showExamples() {
  const given = search.examples ?? [];
  $("given-title").textContent = given.length ? `${given.length} labelled yes, which the search looks for` : "No galaxy is labelled yes yet.";
  $("given").replaceChildren(...given.map((one) => element("li", {},
    element("img", { src: `${HOME}/api${path(`/stamps/${one.stamp_id}.png`)}`, alt: "", width: 96, height: 96, loading: "lazy" }), element("span", {}, calledOf(one)),
    element("button", { type: "button", "aria-label": `Remove ${calledOf(one)}`, onclick: () => removeExample(one) }, "Remove"))));
}

function removeExample(one) {
  return attempt(async () => {
    await call("DELETE", path(`/labels/${one.stamp_id}`));
    await reload();
    const stamp = knownStamp(one.stamp_id);
    if (stamp) {
      stamp.mine = null;
      paint($("grid").querySelector(`[data-stamp="${one.stamp_id}"]`), stamp);
    }
  });
}

function showPictures() {
  showExamples();
  $("pictures").replaceChildren(...search.pictures.map((one) => element("li", {}, `${one.name} (${one.person}) `,
    one.person === session.person ? element("button", { type: "button", onclick: () => removePicture(one.id) }, "Remove") : null)));
}

async function reload() {
  await sending;
  search = await call("GET", path());
  showPictures();
  describeRound();
}

function removePicture(id) {
  return attempt(async () => {
    await call("DELETE", path(`/pictures/${id}`));
    await reload();
  });
}

function addPicture(file) {
  return attempt(async () => {
    tell(`Reading ${file.name} …`);
    await call("POST", `${path("/pictures")}?name=${encodeURIComponent(file.name)}`, file);
    await reload();
    if ($("examples").open) $("examples").close();
    await nextRound();
    tell(`${file.name} is an example now: this round looks for galaxies like it.`);
  });
}

function showProject() {
  const sent = search.project !== null;
  const refused = !sent && !session.writes;
  $("send-form").hidden = sent || refused;
  $("no-token").hidden = !refused;
  $("sent").hidden = !sent;
  if (sent) $("project").href = `${search.label_studio}/projects/${search.project}/data`;
}

function send() {
  return attempt(async () => {
    say("Sending to Label Studio");
    await sending;
    await call("POST", path("/send"), { top: Number($("top").value) });
    await reload();
    showProject();
  }, $("send-form").querySelector("button"));
}

// Keys and buttons

function openDialog(id) {
  notice("");
  $(id).showModal();
}

function setView(chosen) {
  view = chosen;
  for (const button of $("views").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  for (const one of $("grid").children) one.querySelector("img").src = picture(Number(one.dataset.stamp));
}

function onMapKey(event) {
  const label = LABEL_KEYS[event.key.toLowerCase()];
  if (event.key.startsWith("Arrow")) attempt(() => choosePoint(neighbour(event.key)));
  else if (label && plane.chosen !== null && search.state !== "closed") putLabel(plane.chosen, label);
  else if (event.key.toLowerCase() === "z") undo();
  else return;
  event.preventDefault();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("search").hidden) return;
  if ($("map").open) return onMapKey(event);
  if (document.querySelector("dialog[open]") || event.target.closest("input, select, textarea")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  const open = search.state !== "closed";
  if (key in steps) focusTile(current + steps[key]);
  else if (key in LABEL_KEYS) labelCurrent(LABEL_KEYS[key]);
  else if (key === "Backspace" && open && round?.stamps[current]?.mine) putLabel(round.stamps[current].stamp_id, null).then(chartSoon);
  else if (key === "z" && open) undo();
  else if (key === "Enter" && open && !event.target.closest("button, a")) attempt(nextRound, $("next"));
  else if (key === "w" && round?.stamps.length) window.open(round.stamps[current].why, "_blank", "noopener");
  else if (key === "e" && round?.stamps.length) attempt(() => enlarge(round.stamps[current]));
  else if (key === "v") setView(VIEWS[(VIEWS.findIndex(([name]) => name === view) + 1) % VIEWS.length][0]);
  else if (key === "h") attempt(showHistory);
  else if (key === "m") attempt(showMap);
  else if (key === "?") openDialog("help");
  else if (key in VIEW_KEYS) setView(VIEW_KEYS[key]);
  else return;
  event.preventDefault();
}

function listen() {
  signIn($("by-token"), () => ({ token: $("token").value }));
  signIn($("by-password"), () => ({ name: $("name").value, password: $("password").value }));
  $("sign-out").addEventListener("click", () => attempt(async () => {
    await call("DELETE", "/session");
    await begin();
  }));
  $("new-search").addEventListener("submit", (event) => {
    event.preventDefault();
    const suggested = chosenConcept() || event.submitter?.value;
    const name = $("search-name").value.trim() || (suggested ? galaxiesOf(suggested) : "");
    const body = { name, stamp_set: $("pool").value, examples: $("search-examples").value, simulated: chosenConcept() };
    const first = event.submitter?.value ? `#${event.submitter.value}` : "";
    attempt(async () => location.assign(`${HOME}/${(await call("POST", "/searches", body)).id}${first}`), event.submitter);
  });
  $("pool").addEventListener("change", () => document.querySelector("#concepts input:checked")?.dispatchEvent(new Event("change")));
  for (const label of Object.keys(SYMBOLS)) $(label).addEventListener("click", () => labelCurrent(label));
  $("undo").addEventListener("click", undo);
  $("rest-no").addEventListener("click", labelRest);
  $("next").addEventListener("click", () => attempt(nextRound, $("next")));
  $("open-history").addEventListener("click", () => attempt(showHistory));
  $("open-map").addEventListener("click", () => attempt(showMap));
  for (const id of ["send", "help"]) $(`open-${id}`).addEventListener("click", () => openDialog(id));
  $("open-examples").addEventListener("click", () => attempt(async () => {
    await reload();
    openDialog("examples");
  }));
  $("open-galaxy").addEventListener("click", () => round?.stamps.length && attempt(() => enlarge(round.stamps[current])));
  $("plane").addEventListener("click", (event) => attempt(() => choosePoint(nearestPoint(event))));
  $("add-rows").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      await call("POST", path("/examples"), { examples: $("rows").value });
      $("rows").value = "";
      await reload();
      $("examples").close();
      await nextRound();
    }, event.submitter);
  });
  $("picture").addEventListener("change", () => {
    if ($("picture").files.length) addPicture($("picture").files[0]);
    $("picture").value = "";
  });
  $("send-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => {
    $("main").before($("notice"));
    focusTile(current);
  });
  for (const [name, title, key] of VIEWS) $("views").append(element("button", { type: "button", "data-view": name, "aria-pressed": String(name === view), "aria-keyshortcuts": key, onclick: () => setView(name) }, title));
  addEventListener("keydown", onKey);
  addEventListener("dragover", (event) => {
    if (!search || search.state === "closed") return;
    event.preventDefault();
    $("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("drop").hidden = true;
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").hidden = true;
    if (search && event.dataTransfer.files.length) addPicture(event.dataTransfer.files[0]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if ($("map").open) drawPlane();
  });
  setInterval(watchOthers, 15000);
}

listen();
attempt(begin);
