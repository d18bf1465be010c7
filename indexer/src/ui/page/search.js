// Search: hits with the words of the query marked, scores by part, and the chunks of a document beside each other.

let searching = 0;
/// Whether a query waits until it is known what can be searched.
let isAsked = false;

const WORD = /[\p{L}\p{N}]+/gu;
const CONTEXT = 700;

/// What is marked: words of the query, and the same with another ending.
function pattern(query) {
  const words = [...new Set((query.slice(0, 2000).toLowerCase().match(WORD) || []).filter((word) => word.length > 1))].slice(0, 64);
  if (!words.length) return null;
  const stem = (word) => (word.length > 5 ? word.slice(0, -1) : word);
  const all = words.sort((a, b) => b.length - a.length).map((word) => stem(word).replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:${all.join("|")})[\\p{L}]{0,3}(?![\\p{L}\\p{N}])`, "giu");
}

function marked(text, of) {
  if (!of) return [text];
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(of)) {
    if (found.index > end) parts.push(text.slice(end, found.index));
    parts.push(h("mark", {}, found[0]));
    end = found.index + found[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

/// The text around the first word that was found.
function excerpt(text, of) {
  if (text.length <= CONTEXT) return { text, cut: false };
  const first = of ? text.search(of) : 0;
  const start = Math.max(0, Math.min(first - 200, text.length - CONTEXT));
  const piece = text.slice(start, start + CONTEXT);
  return { text: `${start > 0 ? "…" : ""}${piece}${start + CONTEXT < text.length ? "…" : ""}`, cut: true };
}

function openSearch() {
  const query = parameters().get("q");
  if (query !== null && query !== byId("query").value) {
    byId("query").value = query;
    isAsked = true;
  }
  if (state) choices();
}

function choices() {
  const select = byId("collection");
  const names = (data("index")?.collections || []).map((found) => found.name);
  const known = [...select.options].map((option) => option.value);
  if (JSON.stringify(names) !== JSON.stringify(known)) {
    const chosen = select.value || names[0];
    show(select, names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  }
  for (const option of byId("mode").options) option.disabled = !state.setup.can_search_vectors && ["dense", "hybrid"].includes(option.value);
  if (!state.setup.can_search_vectors && byId("mode").value !== "sparse") byId("mode").value = "sparse";
  byId("go").disabled = !state.setup.can_search;
  if (isAsked && state.setup.can_search && select.options.length) {
    isAsked = false;
    find();
  }
  if (!state.setup.can_search) say(byId("found"), "Texts are shown at an address of this machine, or with a token (EBB_UI_TOKEN).", true);
}

async function find() {
  const turn = ++searching;
  const query = byId("query").value;
  const said = byId("found");
  if (!query.trim()) { show(byId("hits")); return say(said, "Say what to look for."); }
  history.replaceState(null, "", `#/search?q=${encodeURIComponent(query.slice(0, 500))}`);
  say(said, "searching; a worker that is scaled to zero needs time to start");
  const begun = performance.now();
  try {
    const body = {
      query, collection: byId("collection").value, mode: byId("mode").value || null, filter: byId("filter").value,
      limit: Number(byId("limit").value), group_by_document: byId("group").checked,
    };
    const found = await (await ask("/api/search", body)).json();
    if (turn !== searching) return;
    const seconds = (performance.now() - begun) / 1000;
    const cut = found.query_truncated ? "; the model takes less than the query and has read its beginning" : "";
    say(said, `${many(found.hits.length, "hit")} by ${found.search} in ${two.format(seconds)} s${cut}`);
    const of = pattern(query);
    show(byId("hits"), found.hits.map((hit, at) => drawHit(hit, at, of, body.collection, found.hits[0].score)));
  } catch (error) {
    if (turn !== searching) return;
    show(byId("hits"));
    say(said, error.message, true);
  }
}

function drawHit(hit, at, of, collection, best) {
  const piece = excerpt(hit.text, of);
  const text = h("p", { class: "text", dir: "auto" }, marked(piece.text, of));
  const beside = h("div", {});
  const all = piece.cut ? h("button", { type: "button", class: "small", on: { click: (event) => { show(text, marked(hit.text, of)); event.currentTarget.remove(); text.tabIndex = -1; text.focus(); } } }, "All of the text") : null;
  const chunks = h("button", { type: "button", class: "small", "aria-expanded": "false", on: { click: (event) => openChunks(event.currentTarget, beside, hit, of, collection) } }, hit.chunks > 1 ? `All ${count(hit.chunks)} chunks` : "The document");
  const parts = Object.entries(hit.parts || {}).map(([name, place]) => h("span", {}, `${name}: rank ${place.rank}, ${number(place.score)}`));
  return h("li", {}, h("article", { "aria-label": `Hit ${at + 1}` },
    h("div", { class: "hit-head" }, h("span", { class: "note" }, `${at + 1}`), h("span", { class: "id" }, named(hit.title || hit.doc_id, 200)),
      hit.title ? h("span", { class: "note mono" }, named(hit.doc_id, 120)) : null, h("span", { class: "note" }, `chunk ${hit.chunk + 1} of ${hit.chunks}`)),
    h("div", { class: "scores" }, h("span", {}, bar(best > 0 ? hit.score / best : 0), ` score ${number(hit.score)}`), parts),
    hit.heading ? h("p", { class: "heading", dir: "auto" }, named(hit.heading, 400)) : null, text,
    h("div", { class: "tools" }, all, chunks), beside));
}

async function openChunks(button, place, hit, of, collection) {
  if (place.childElementCount) {
    button.setAttribute("aria-expanded", "false");
    return show(place);
  }
  button.setAttribute("aria-expanded", "true");
  await drawChunks(place, hit, of, collection, Math.max(0, hit.chunk - 3));
}

async function drawChunks(place, hit, of, collection, from) {
  try {
    const found = await (await ask("/api/document", { collection, doc_id: hit.doc_id, from })).json();
    const cards = found.chunks.map((it) => h("section", { class: `chunk ${it.chunk === hit.chunk ? "own" : ""}`, tabindex: "0", "aria-label": `Chunk ${it.chunk + 1} of ${it.chunks}` },
      h("h4", {}, `${it.chunk + 1} of ${it.chunks}${it.chunk === hit.chunk ? ", the hit" : ""}`), it.heading ? h("p", { class: "heading", dir: "auto" }, named(it.heading, 300)) : null, h("div", { dir: "auto" }, marked(it.text, of))));
    const move = (to, text) => h("button", { type: "button", class: "small", on: { click: () => drawChunks(place, hit, of, collection, to) } }, text);
    show(place, h("div", { class: "chunks", tabindex: "0", role: "group", "aria-label": "Chunks of the document" }, cards),
      h("div", { class: "tools" }, from > 0 ? move(Math.max(0, from - found.page), "Earlier chunks") : null, from + found.page < hit.chunks ? move(from + found.page, "Later chunks") : null));
  } catch (error) { show(place, h("p", { class: "bad" }, error.message)); }
}
