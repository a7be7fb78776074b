// Controls that report every value while they move. A native slider runs over the options, and its
// aria-valuetext is the value. A control without effect is disabled, and the text next to it says why.

function add(parent, kind, properties = {}) {
  const element = Object.assign(document.createElement(kind), properties);
  element.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys for its cells
  return parent.appendChild(element);
}

function render({ model, el }) {
  const root = add(el, "div", { className: "lab-knobs" }), rows = {};
  const gone = add(root, "p", { className: "gone", role: "alert", hidden: true });
  for (const { name, label, options, texts, menu } of model.get("specs")) {
    const row = add(root, "label", { textContent: label });
    const input = add(row, menu ? "select" : "input", { name, ariaLabel: label });
    const reason = add(root, "p", { className: "reason", hidden: true, id: `why-${name}-${Math.random()}` });
    input.setAttribute("aria-describedby", reason.id);
    if (menu) texts.forEach((text) => add(input, "option", { textContent: text }));
    else Object.assign(input, { type: "range", min: 0, max: options.length - 1, step: 1 });
    rows[name] = { input, options, texts, reason, output: menu ? null : add(row, "span") };
    input.addEventListener("input", () => {
      const at = menu ? input.selectedIndex : Number(input.value);
      model.set("values", { ...model.get("values"), [name]: options[at] });
      model.save_changes();
      draw();
    });
  }

  function draw() {
    const values = model.get("values"), why = model.get("why");
    for (const [name, { input, options, texts, reason, output }] of Object.entries(rows)) {
      const at = options.indexOf(values[name]);
      if (output) {
        input.value = at;
        input.ariaValueText = texts[at] + (why[name] ? `, ${why[name]}` : "");
        output.textContent = texts[at];
      } else input.selectedIndex = at;
      input.disabled = Boolean(why[name]);
      reason.hidden = !why[name];
      reason.textContent = why[name] ?? "";
    }
  }

  function lost() { // after a restart of the kernel the widget stays on the page, and nobody answers
    gone.hidden = false;
    gone.textContent = "This lab has lost its kernel. Run its cell again, or reload the page if it has no cells.";
    for (const { input } of Object.values(rows)) input.disabled = true;
  }

  model.on("change:values", draw);
  model.on("change:why", draw);
  model.on("comm_live_update", lost);
  draw();
  return () => {
    model.off("change:values", draw);
    model.off("change:why", draw);
    model.off("comm_live_update", lost);
  };
}

export default { render };
