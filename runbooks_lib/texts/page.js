(function () {
  var radios = document.querySelectorAll('input[name="lang"]'), kept = null;
  try { kept = localStorage.getItem("runbooks-lang"); } catch (e) { kept = null; }
  var wanted = [kept].concat(navigator.languages || []).filter(Boolean).map(function (l) { return l.slice(0, 2); });
  var first = wanted.map(function (l) { return document.getElementById("lang-" + l); }).filter(Boolean)[0];
  if (first) { first.checked = true; document.documentElement.lang = first.value; }
  var small = matchMedia("(max-width:640px)");
  function label() {
    if (!small.matches) { return; }
    document.querySelectorAll(".scroll table").forEach(function (table) {
      var heads = table.tHead ? [].slice.call(table.tHead.rows[0].cells) : [];
      if (heads.length < 3) { return; }
      var words = heads.map(function (head) { return (head.querySelector('[lang="' + document.documentElement.lang + '"]') || head).textContent; });
      table.classList.add("cards");
      [].slice.call(table.rows).slice(1).forEach(function (row) {
        [].slice.call(row.cells).forEach(function (cell, n) { cell.dataset.label = words[n] || ""; });
      });
    });
  }
  label();
  small.addEventListener("change", label);
  radios.forEach(function (radio) {
    radio.addEventListener("change", function () {
      document.documentElement.lang = radio.value;
      label();
      try { localStorage.setItem("runbooks-lang", radio.value); } catch (e) { return; }
    });
  });
  document.querySelectorAll("details > noscript").forEach(function (unread) {
    unread.parentNode.addEventListener("toggle", function () {
      unread.outerHTML = unread.textContent;
      label();
    }, {once: true});
  });
  document.querySelectorAll("details.rows").forEach(function (box) {
    var field = document.createElement("input");
    field.type = "search";
    field.placeholder = field.ariaLabel = box.closest("[lang]").lang === "fr" ? "Rechercher" : "Search";
    box.querySelector("summary").after(field);
    field.addEventListener("input", function () {
      var text = field.value.trim().toLowerCase();
      box.querySelectorAll("table").forEach(function (table) {
        var found = [].slice.call(table.querySelectorAll("tbody tr")).filter(function (row) {
          row.hidden = row.textContent.toLowerCase().indexOf(text) < 0;
          return !row.hidden;
        });
        table.parentNode.hidden = !found.length;
      });
    });
  });
})();
