"use strict";
// Sorting, searching and copying. Without this script the page has the same contents.
for (const block of document.querySelectorAll(".way")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  const command = block.querySelector("code");
  button.setAttribute("aria-label", `Copy: ${command.textContent}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = "Selected";
    }
  });
  block.append(button);
}

const table = document.getElementById("rows");
if (table) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({
    row,
    cells: [...row.cells].map((cell) => cell.textContent),
    text: [...row.cells].map((cell) => cell.textContent).join("\n").toLowerCase(),
  }));

  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((one, other) => compare(one.cells[column], other.cells[column]) * (down ? -1 : 1));
      body.append(...rows.map((entry) => entry.row));
    });
  });

  const search = document.createElement("div");
  search.className = "search";
  const label = document.createElement("label");
  label.textContent = "Search these rows ";
  const field = document.createElement("input");
  field.type = "search";
  field.autocomplete = "off";
  field.spellcheck = false;
  label.append(field);
  const count = document.createElement("p");
  count.setAttribute("role", "status");
  search.append(label, count);
  table.before(search);
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let shown = 0;
    for (const entry of rows) {
      entry.row.hidden = !entry.text.includes(wanted);
      shown += entry.row.hidden ? 0 : 1;
    }
    count.textContent = !wanted ? "" : shown ? `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows` : "No row has this text.";
    table.classList.toggle("empty", !shown);
  });
}
