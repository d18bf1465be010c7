// Elements, numbers and times. Text is put into the page as text alone, never as markup.

const byId = (id) => document.getElementById(id);

function h(tag, props, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, heard] of Object.entries(value)) made.addEventListener(event, heard);
    else if (name === "part") made.style.setProperty("--part", String(Math.min(1, Math.max(0, value))));
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat(4).filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

/// Puts something in the place of what was there. What had the focus has it again.
function show(place, ...children) {
  const had = place.contains(document.activeElement) ? document.activeElement.getAttribute("data-key") : null;
  const list = children.flat(4).filter((child) => child !== undefined && child !== null && child !== false);
  place.replaceChildren(...list);
  if (had !== null) {
    for (const found of place.querySelectorAll("[data-key]")) {
      if (found.getAttribute("data-key") === had) { found.focus(); break; }
    }
  }
}

/// A format of numbers, made when a number is first shown: to make one takes longer than to draw the empty page.
function format(options) {
  let made = null;
  return { format: (value) => (made ??= new Intl.NumberFormat("en", options)).format(value) };
}

const whole = format({ maximumFractionDigits: 0 });
const one = format({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
const two = format({ minimumFractionDigits: 2, maximumFractionDigits: 2 });
const short = format({ notation: "compact", maximumSignificantDigits: 3 });

function count(value) {
  return value === undefined || value === null ? "?" : whole.format(value);
}

function many(value, what, whats) {
  return `${count(value)} ${value === 1 ? what : whats || `${what}s`}`;
}

function about(value) {
  if (value === undefined || value === null) return "?";
  return value < 10000 ? whole.format(value) : short.format(value).replace(/([KMBT])$/, " $1");
}

function perSecond(value) {
  if (value === undefined || value === null) return "?";
  return value > 0 && value < 100 ? one.format(value) : about(value);
}

function span(seconds) {
  if (!Number.isFinite(seconds)) return "?";
  if (seconds > 0 && seconds < 9.95) return `${one.format(Math.max(0.1, seconds))} s`;
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${String(Math.floor(s % 3600 / 60)).padStart(2, "0")} min`;
  return s < 3e8 ? `${whole.format(Math.floor(s / 86400))} days` : "years";
}

/// How far the clock of this browser is before that of the server.
let skew = 0;

function ago(millis) {
  const seconds = (Date.now() - skew - millis) / 1000;
  if (seconds < 5) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${whole.format(Math.round(seconds / 86400))} days ago`;
}

function when(time) {
  const millis = typeof time === "number" ? time : Date.parse(time);
  if (!Number.isFinite(millis)) return String(time ?? "?");
  const moment = new Date(millis);
  return h("time", { datetime: moment.toISOString(), title: moment.toLocaleString(), "data-at": millis }, ago(millis));
}

function tick() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-at]")) {
    const text = ago(Number(time.getAttribute("data-at")));
    if (time.textContent !== text) time.textContent = text;
  }
}

/// Something that came from a document or a message: shown in its own direction, and never as long as it likes.
function named(text, most) {
  const all = String(text ?? "");
  const limit = most || 160;
  const cut = all.length > limit ? `${all.slice(0, limit)}…` : all;
  return h("bdi", { title: all.length > limit ? all.slice(0, 1024) : null, class: cut.length > 24 && !cut.slice(0, 24).includes(" ") ? "long" : null }, cut);
}

/// What a word means, where it stands. The list of words at the end of the overview says the same to who has no pointer.
const WORDS = {
  Lane: "A queue of jobs of one model. Each model has two: workers take live jobs first, and bulk ones when no live one waits.",
  "In flight": "Jobs that a worker has taken and not ended.",
  Tokens: "Pieces of words that a model reads: what the jobs of the lane cost, waiting and in flight.",
  "Idle workers": "Requests for a job that wait. An idle worker has one on each lane, a busy one may have none.",
  Points: "Chunks of documents with their vectors. Heads of deleted documents (tombstones) count until the next rebuild.",
  Vectors: "Whether every point has every vector of its collection.",
  Generation: "The collection that the alias points to. Each rebuild fills a new one, proves it, and moves the alias to it.",
  Rollback: "The generation before, to which indexer rollback moves the alias back.",
  Phase: "How far a run has come: the last step that it has ended.",
  "Process at work": "The process that holds the lease of the run. Without one, the same command goes on with it.",
  Deliveries: "How often a worker got the job.",
  Gate: "A check that has to pass before an alias moves.",
  Published: "Chunks that were sent to workers.",
  Reused: "Chunks whose vectors were there already.",
};

/// A table: columns are [title, of row, options]; the first is the heading of its row.
function table(caption, columns, rows, more) {
  const head = columns.map(([title, , options]) => h("th", { scope: "col", role: "columnheader", class: options?.n ? "n" : null }, WORDS[title] ? h("span", { class: "word", title: WORDS[title] }, title) : title));
  const body = rows.map((row) => {
    const cells = columns.map(([title, of, options], at) => {
      const value = of(row);
      const isEmpty = value === "" || value === null || value === undefined;
      const classes = [options?.n && "n", options?.mono && "mono", isEmpty && "empty", options?.all && "all"].filter(Boolean).join(" ");
      if (at === 0) return h("th", { scope: "row", role: "rowheader", class: classes || null }, value);
      return h("td", { role: "cell", "data-label": title, class: classes || null }, h("span", {}, value));
    });
    return h("tr", { role: "row" }, cells);
  });
  return h("table", { role: "table", class: `fold ${more || ""}` },
    h("caption", { class: caption.unseen ? "unseen" : null }, caption.text || caption.unseen),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), h("tbody", { role: "rowgroup" }, body));
}

function bar(part) {
  return h("span", { class: "bar", "aria-hidden": "true" }, h("i", { part }));
}

function unit(text, title) {
  return h("span", { class: "unit", title }, ` ${text}`);
}

/// A count with what it counts.
function counted(value, what) {
  return [count(value), unit(value === 1 ? what : `${what}s`)];
}

// What is asked of the server.

let token = sessionStorage.getItem("ebb-token") || "";

async function ask(path, body, signal) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST", headers, signal, cache: "no-store",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 401) {
    await logIn(Boolean(token));
    throw new Error("the token is wrong or missing");
  }
  if (!answer.ok) {
    let said = `the server answered ${answer.status}`;
    try { said = (await answer.json()).error || said; } catch { /* it is no JSON */ }
    throw new Error(said);
  }
  return answer;
}

let loggingIn = null;

function logIn(isWrong) {
  if (loggingIn) return loggingIn;
  const dialog = byId("login");
  say(byId("login-said"), isWrong ? "That was not the token. It is what the server was started with: EBB_UI_TOKEN, or --token." : "", isWrong);
  loggingIn = new Promise((done) => {
    dialog.addEventListener("close", () => {
      token = byId("token").value.trim();
      byId("token").value = "";
      sessionStorage.setItem("ebb-token", token);
      loggingIn = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return loggingIn;
}

function confirmed(text, yes) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
    dialog.returnValue = "no";
    dialog.showModal();
  });
}

function say(place, text, isBad) {
  place.classList.toggle("bad", Boolean(isBad));
  if (place.textContent !== text) place.textContent = text;
}
