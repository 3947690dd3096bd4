
"use strict";
// Pictures open large.
(() => {
  const large = document.getElementById("large");
  const [title, close] = [large.querySelector("p"), large.querySelector("button")];
  let shown = null;

  function show(button) {
    const image = button.querySelector("img");
    shown = button;
    title.textContent = image.alt;
    const copy = new Image();
    copy.alt = image.alt;
    copy.src = image.src;
    large.querySelector("img")?.remove();
    large.append(copy);
    if (!large.open) large.showModal();
  }

  function step(by) {
    const all = [...document.querySelectorAll("button.picture")].filter((each) => each.offsetParent);
    show(all[(all.indexOf(shown) + by + all.length) % all.length]);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.picture");
    if (button) show(button);
  });
  close.addEventListener("click", () => large.close());
  large.addEventListener("click", (event) => event.target.closest("button") || large.close());
  large.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  large.addEventListener("close", () => shown.focus());
})();

// The table is sorted by its headings and filtered by its controls, and the cards follow it.
(() => {
  const table = document.getElementById("cohort");
  if (!table) return;
  const body = table.tBodies[0];
  const controls = document.getElementById("controls");
  const count = document.getElementById("count");
  const headers = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", { numeric: true });
  let rows = [...body.rows];
  const cardOf = new Map(rows.map((row) => [row, document.getElementById(row.dataset.card)]));

  function key(row, column) {
    return row.cells[column].dataset.sort;
  }

  function sort(column) {
    const header = headers[column];
    const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const sign = direction === "ascending" ? 1 : -1;
    const isNumber = header.dataset.kind === "number";
    rows.sort((one, other) => {
      const [a, b] = [key(one, column), key(other, column)];
      return sign * (isNumber ? Number(a) - Number(b) : collator.compare(a, b));
    });
    for (const each of headers) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction);
    body.append(...rows);
    for (const card of rows.map((row) => cardOf.get(row))) card?.parentElement.append(card);
  }

  function suits(row) {
    const { text, ...chosen } = Object.fromEntries(new FormData(controls));
    const words = text.toLowerCase().split(/\s+/);
    return words.every((word) => row.dataset.text.includes(word)) && Object.entries(chosen).every(([name, value]) => {
      const own = JSON.parse(row.dataset[name]);
      return value === "" || (value === "any" && own.length > 0) || (value === "none" && own.length === 0) ||
        own.includes(value.replace(/^is:/, ""));
    });
  }

  function filter() {
    let number = 0;
    for (const row of rows) {
      const shown = suits(row);
      row.hidden = !shown;
      const card = cardOf.get(row);
      if (card) card.hidden = !shown;
      number += shown;
    }
    const noun = rows.length === 1 ? count.dataset.noun : `${count.dataset.noun}s`;
    const verb = rows.length === 1 ? "is" : "are";
    count.textContent = number === rows.length && number > 1 ? `All ${number} ${noun} are shown.` :
      `${number} of ${rows.length} ${noun} ${verb} shown.`;
  }

  headers.forEach((header, column) => header.querySelector("button")?.addEventListener("click", () => sort(column)));
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(filter));
  controls.hidden = false;
  filter();
})();

// Served by the viewer, the page links to it; on its own it names the command.
(() => {
  if (!["127.0.0.1", "localhost", "[::1]"].includes(location.hostname)) return;
  for (const each of document.querySelectorAll(".view-link, .view-command")) each.hidden = !each.hidden;
})();
