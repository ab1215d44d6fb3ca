// What the page shows and says; nothing here knows which scan is open.

export const by = (id) => document.getElementById(id);

export function banner(text = "", { bad = false, action, label } = {}) {
  const box = by("banner");
  const button = box.querySelector("button");
  box.hidden = !text;
  box.classList.toggle("bad", bad);
  box.querySelector("span").textContent = text;
  button.hidden = !action;
  button.textContent = label ?? "";
  button.onclick = action ?? null;
}

export const complain = (text) => banner(text, { bad: true });

// at: as `Viewer.place` gives it.
export function place(at, classes) {
  if (!at) return;
  const name = at.drawn ? ` · ${classes[at.drawn].name}` : "";
  const grey = at.grey === undefined ? "" : ` · ${Number(at.grey.toPrecision(5))}`;
  by("place").textContent = `voxel ${at.voxel.join(", ")} · ${at.mm.map((n) => n.toFixed(1)).join(", ")} mm${grey}${name}`;
}

export function convention(radiological) {
  by("convention").textContent = radiological
    ? "Radiological: the patient's right is on the left"
    : "Neurological: the patient's left is on the left";
}

// Which button of a group is pressed, and to press another.
export const pressed = (group, key) => by(group).querySelector("[aria-pressed=true]").dataset[key];

export function press(group, key, wanted) {
  for (const button of by(group).children) button.setAttribute("aria-pressed", button.dataset[key] === wanted);
}

// One button a class; choose(index) is called when one is pressed.
export function offerClasses(classes, choose) {
  const buttons = classes.slice(1).map((one, k) => {
    const button = document.createElement("button");
    const colour = document.createElement("i");
    const name = document.createElement("span");
    const key = document.createElement("kbd");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.dataset.value = k + 1;
    colour.style.background = one.colour;
    name.textContent = one.name;
    key.textContent = k < 9 ? k + 1 : "";
    button.append(colour, name, key);
    button.addEventListener("click", () => choose(k + 1));
    return button;
  });
  by("classes").replaceChildren(...buttons);
}
