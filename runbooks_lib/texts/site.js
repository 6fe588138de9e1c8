(function () {
  var form = document.getElementById("filters"), rows = [].slice.call(document.querySelectorAll("tr[data-phase]"));
  var heads = [].slice.call(document.querySelectorAll("th[data-by]")), names = ["text", "phase", "verdict", "mode", "from", "to", "changed"];
  var worst = ["PASS", "SKIP", "OPEN", "none", "FAIL", "ERROR"], sort = "-begun";
  form.hidden = false;
  function key(row, by) {
    var value = row.dataset[by] || "";
    return by === "verdict" ? worst.indexOf(value) : by === "seconds" || by === "findings" ? parseFloat(value) : value;
  }
  function order() {
    var down = sort.charAt(0) === "-", by = down ? sort.slice(1) : sort;
    if (!heads.some(function (head) { return head.dataset.by === by; })) { return; }
    rows.slice().sort(function (a, b) {
      var one = key(a, by), other = key(b, by);
      return (one < other ? -1 : one > other ? 1 : 0) * (down ? -1 : 1);
    }).forEach(function (row) { row.parentNode.appendChild(row); });
    heads.forEach(function (head) {
      if (head.dataset.by === by) { head.setAttribute("aria-sort", down ? "descending" : "ascending"); }
      else { head.removeAttribute("aria-sort"); }
    });
  }
  function choose() {
    var f = form.elements, text = f.text.value.trim().toLowerCase(), shown = 0;
    rows.forEach(function (row) {
      var d = row.dataset;
      var fits = (!f.phase.value || d.phase === f.phase.value) && (!f.verdict.value || d.verdict === f.verdict.value) &&
        (!f.mode.value || d.mode === f.mode.value) && (!f.from.value || d.date >= f.from.value) &&
        (!f.to.value || (d.date && d.date <= f.to.value)) && (!f.changed.checked || d.changed === "yes") &&
        (!text || row.textContent.toLowerCase().indexOf(text) >= 0);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    document.getElementById("shown").textContent = shown;
  }
  function write() {
    var said = new URLSearchParams();
    names.forEach(function (name) {
      var field = form.elements[name], value = field.type === "checkbox" ? (field.checked ? "yes" : "") : field.value;
      if (value) { said.set(name, value); }
    });
    if (sort !== "-begun") { said.set("sort", sort); }
    history.replaceState(null, "", "#" + said);
  }
  function read() {
    var said = new URLSearchParams(location.hash.slice(1));
    names.forEach(function (name) {
      var field = form.elements[name];
      if (field.type === "checkbox") { field.checked = said.get(name) === "yes"; } else { field.value = said.get(name) || ""; }
    });
    sort = said.get("sort") || "-begun";
    order();
    choose();
  }
  heads.forEach(function (head) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      sort = sort === head.dataset.by ? "-" + head.dataset.by : head.dataset.by;
      order();
      write();
    });
  });
  form.addEventListener("input", function () { choose(); write(); });
  form.addEventListener("reset", function () { setTimeout(function () { choose(); write(); }, 0); });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  window.addEventListener("hashchange", read);
  read();
})();
