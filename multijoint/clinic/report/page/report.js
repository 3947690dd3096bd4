
"use strict";
(() => {
  const table = document.getElementById("cohort");
  if (!table) return;
  const body = table.tBodies[0];
  const cards = document.getElementById("cards");
  const controls = document.getElementById("controls");
  const headers = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", { numeric: true });
  let rows = [...body.rows];
  const cardOf = new Map(rows.map((row) => [row, document.getElementById(row.dataset.card)]));
  const flagsOf = new Map(rows.map((row) => [row, JSON.parse(row.dataset.flags)]));

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
    cards.append(...rows.map((row) => cardOf.get(row)));
  }

  function suits(row) {
    const { text, status, domain, flag } = Object.fromEntries(new FormData(controls));
    const flags = flagsOf.get(row);
    const suitsFlag =
      flag === "" || (flag === "any" && flags.length > 0) || (flag === "none" && flags.length === 0) ||
      flags.includes(flag.replace(/^is:/, ""));
    return (
      suitsFlag && (status === "" || row.dataset.status === status) &&
      (domain === "" || row.dataset.domain === domain.replace(/^is:/, "")) &&
      text.toLowerCase().split(/\s+/).every((word) => row.dataset.text.includes(word))
    );
  }

  function filter() {
    let number = 0;
    for (const row of rows) {
      const shown = suits(row);
      row.hidden = cardOf.get(row).hidden = !shown;
      number += shown;
    }
    document.getElementById("count").textContent =
      number === rows.length ? `All ${rows.length} cases are shown.` : `${number} of ${rows.length} cases are shown.`;
  }

  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => sort(column)));
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(filter));
  controls.hidden = false;
  filter();
})();
