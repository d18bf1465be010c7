// What comes from the server by itself, and the views.

const NAMES = { queue: "The queue", index: "The index", letters: "The dead letters", runs: "The runs", workers: "The workers" };
let lost = null;
let lastNews = { text: "", at: 0 };

function troubles() {
  const found = [];
  if (lost !== null) found.push(["The page has no connection to its server", `it tries again; figures are of ${new Date(lost).toLocaleTimeString()}`]);
  const byError = new Map();
  for (const [part, name] of Object.entries(NAMES)) {
    const error = state?.[part]?.error;
    if (!error) continue;
    if (!byError.has(error)) byError.set(error, []);
    byError.get(error).push([name, state[part]]);
  }
  for (const [error, parts] of byError) {
    const names = parts.map(([name]) => name).join(", ").replace(/, The/g, ", the");
    const seen = parts.map(([, part]) => part.at).filter(Boolean);
    const old = seen.length ? `; what is shown is of ${new Date(Math.min(...seen)).toLocaleTimeString()}` : "";
    found.push([`${names} cannot be seen`, `${error.slice(0, 600)}${old}`]);
  }
  const text = JSON.stringify(found);
  const place = byId("troubles");
  if (place.getAttribute("data-said") === text) return;
  place.setAttribute("data-said", text);
  show(place, found.map(([what, why]) => h("p", { class: "trouble" }, h("strong", {}, what), ": ", named(why, 700))));
}

/// One sentence for who does not see the page: when it changes, and at most every half minute.
function news() {
  const queue = data("queue");
  const total = data("letters")?.total;
  const lag = queue ? sum(queue.lanes, (lane) => lane.lag) : null;
  const size = lag === null ? "The queue cannot be seen" : lag === 0 ? "Nothing waits" : `About ${about(Number(lag.toPrecision(1)))} jobs wait`;
  const text = `${size}${total ? `; ${about(Number(total.toPrecision(2)))} dead letters` : ""}.`;
  if (text === lastNews.text || Date.now() - lastNews.at < 30000) return;
  lastNews = { text, at: Date.now() };
  byId("news").textContent = text;
}

function linked(kind, text) {
  byId("link").className = `link ${kind}`;
  say(byId("link-text"), text);
}

function take(event) {
  const isFirst = state === null;
  state = JSON.parse(event);
  const apart = Date.now() - state.now;
  skew = Math.abs(apart) > 3000 ? apart : 0;
  lost = null;
  linked("live", "live");
  say(byId("version"), `Ebb ${state.setup.version}`);
  const mode = state.setup.can_change ? "dead letters may be replayed and dropped here" : "this page changes nothing";
  say(byId("looks"), `looked at every ${number(state.setup.interval_seconds)} s, what costs more less often; ${mode}`);
  troubles();
  overview();
  news();
  if (!byId("search").hidden) choices();
  // What a view may do was not known before.
  if (isFirst && !byId("failed").hidden) drawLetters();
}

/// Reads events until the connection ends. One that is silent for longer than the server ever is has ended.
async function read(answer, watch) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    watch();
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    const newest = events.filter((event) => event.startsWith("data: ")).pop();
    if (newest) take(newest.slice(6));
  }
}

async function follow() {
  let failures = 0;
  for (;;) {
    const control = new AbortController();
    let timer = 0;
    const watch = () => { clearTimeout(timer); timer = setTimeout(() => control.abort(), 40000); };
    try {
      watch();
      const answer = await ask("/api/events", undefined, control.signal);
      failures = 0;
      await read(answer, watch);
    } catch { /* it is tried again */ } finally { clearTimeout(timer); }
    if (lost === null) lost = Date.now();
    linked("lost", "no connection");
    troubles();
    failures = Math.min(failures + 1, 5);
    await new Promise((done) => setTimeout(done, (500 * 2 ** failures) * (0.5 + Math.random() / 2)));
  }
}

async function remember() {
  try {
    const found = await (await ask("/api/history")).json();
    if (found.times.length) past = found;
    overview();
  } catch { /* the events say what is wrong */ }
}

// Views.

const VIEWS = { overview: () => overview(), failed: openFailed, runs: openRuns, search: openSearch };
const TITLES = { overview: "Overview", failed: "Dead letters", runs: "Runs", search: "Search" };

let shownView = "";

function go(isFirst) {
  const asked = location.hash.replace(/^#\/?/, "").split("?")[0];
  if (location.hash === "#main") return;
  const name = asked in VIEWS ? asked : "overview";
  for (const view of Object.keys(VIEWS)) byId(view).hidden = view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("data-view") === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name === "overview" ? "Ebb" : `${TITLES[name]} – Ebb`;
  if (shownView !== location.hash) window.scrollTo(0, 0);
  shownView = location.hash;
  VIEWS[name]();
  if (!isFirst && name === "search") byId("query").focus();
}

// Colours.

const THEMES = [["", "Auto", "as the system has them"], ["light", "Light", "light"], ["dark", "Dark", "dark"]];

function colour(theme) {
  const [value, text, label] = THEMES.find(([name]) => name === theme) || THEMES[0];
  if (value) document.documentElement.setAttribute("data-theme", value);
  else document.documentElement.removeAttribute("data-theme");
  byId("theme").textContent = text;
  byId("theme").setAttribute("aria-label", `Colours: ${label}`);
  localStorage.setItem("ebb-theme", value);
}

byId("theme").addEventListener("click", () => {
  const at = THEMES.findIndex(([, text]) => text === byId("theme").textContent);
  colour(THEMES[(at + 1) % THEMES.length][0]);
});
colour(localStorage.getItem("ebb-theme") || "");

/// What the first frame does not show is in templates until then: each control costs time to draw, hidden or not.
function begin() {
  for (const folded of document.querySelectorAll("template")) folded.replaceWith(folded.content);
  byId("search-form").addEventListener("submit", (event) => { event.preventDefault(); find(); });
  window.addEventListener("hashchange", () => go(false));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (byId("search").hidden) location.hash = "#/search";
    else byId("query").focus();
  });
  show(byId("words").querySelector("dl"), Object.entries({
    ...WORDS,
    Job: "What a worker takes at once: some thousands of tokens of documents.",
    "Dead letter": "A job that was given up, with the reason. It is kept until somebody replays or drops it.",
    Alias: "The name that is searched. It points to one collection, its generation.",
    Run: "A rebuild, sync or other long work, with what is recorded of it.",
  }).map(([word, meaning]) => [h("dt", {}, word), h("dd", {}, meaning)]));
  go(true);
  follow();
  remember();
  setInterval(remember, 30000);
  setInterval(tick, 1000);
}

// The overview is there to be shown at once; another view comes with the rest. A tab that is hidden has no frames to wait for.
if (["", "#/", "#main"].includes(location.hash) && !document.hidden) requestAnimationFrame(() => setTimeout(begin));
else begin();
