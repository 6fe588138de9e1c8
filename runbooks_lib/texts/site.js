(function () {
  var form = document.getElementById("filters"), rows = [].slice.call(document.querySelectorAll("tr[data-phase]"));
  form.hidden = false;
  function choose() {
    var f = form.elements, shown = 0;
    rows.forEach(function (row) {
      var d = row.dataset;
      var fits = (!f.phase.value || d.phase === f.phase.value) && (!f.verdict.value || d.verdict === f.verdict.value) &&
        (!f.mode.value || d.mode === f.mode.value) && (!f.from.value || d.date >= f.from.value) &&
        (!f.to.value || (d.date && d.date <= f.to.value)) && (!f.changed.checked || d.changed === "yes");
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    document.getElementById("shown").textContent = shown;
  }
  form.addEventListener("input", choose);
  form.addEventListener("reset", function () { setTimeout(choose, 0); });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  choose();
})();
