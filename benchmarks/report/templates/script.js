"use strict";
// Without this script the page says the same; it only sorts and hides.
const valueOf = (row, column) => row.children[column].dataset.value ?? row.children[column].textContent;
const missing = (value) => value === "" || value === "nan";
function compare(one, other) {
  const numbers = [Number(one), Number(other)];
  return numbers.some(Number.isNaN) ? one.localeCompare(other, undefined, {numeric: true}) : numbers[0] - numbers[1];
}
function sort(table, head) {
  const down = head.getAttribute("aria-sort") !== "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [mine, its] = [valueOf(one, head.cellIndex), valueOf(other, head.cellIndex)];
    if (missing(mine) || missing(its)) return missing(mine) - missing(its);  // what is not known stays below
    return (down ? -1 : 1) * compare(mine, its);
  });
  table.tBodies[0].append(...rows);
}
for (const table of document.querySelectorAll("table.sortable"))
  for (const head of table.tHead.rows[0].cells)
    head.querySelector("button")?.addEventListener("click", () => sort(table, head));
for (const form of document.querySelectorAll("form.controls")) {
  const table = document.getElementById(form.dataset.for);
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    const place = form.querySelector("[data-filter]").value;
    for (const row of table.tBodies[0].rows) row.hidden = place !== "" && row.dataset.place !== place;
    for (const box of form.querySelectorAll("input[data-group]"))
      for (const cell of table.querySelectorAll(`[data-group="${box.dataset.group}"]`)) cell.hidden = !box.checked;
  });
}
