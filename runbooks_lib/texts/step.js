(function () {
  var form = document.getElementById("filters");
  var rows = [].slice.call(document.querySelectorAll(".answer tbody tr")), boxes = [].slice.call(document.querySelectorAll(".answer"));
  function unfold() {
    var there = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    var box = there && there.closest("details");
    if (box) { box.open = true; there.scrollIntoView(); }
  }
  function choose() {
    var text = form.elements.text.value.trim().toLowerCase(), verdict = form.elements.verdict.value, shown = 0;
    rows.forEach(function (row) {
      var fits = (!verdict || row.cells[0].textContent.indexOf(verdict) >= 0) && (!text || row.textContent.toLowerCase().indexOf(text) >= 0);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    boxes.forEach(function (box) {
      var left = box.querySelectorAll("tbody tr:not([hidden])").length;
      box.classList.toggle("none", !left);
      if (text || verdict) { box.open = left > 0; }
    });
    document.getElementById("shown").textContent = shown + " / " + rows.length;
  }
  window.addEventListener("hashchange", unfold);
  unfold();
  if (!form) { return; }
  form.hidden = false;
  form.addEventListener("input", choose);
  form.addEventListener("reset", function () { setTimeout(choose, 0); });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  choose();
})();
