// Small helpers around the DOM. Text goes in as text alone.

// calm matches where the user wants little to move.
export const calm = matchMedia("(prefers-reduced-motion: reduce)");

// clone is a copy of a <template>'s only element.
export const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

// part is the element that a template names by data-part.
export const part = (root, name) => root.querySelector(`[data-part="${name}"]`);

// setText changes an element only if it has to: what is read aloud or selected
// stays undisturbed.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// setList makes the children of parent those of items: one element for each key,
// kept as long as the key is there. A removed one fades out, and gives the focus
// to a neighbour.
export function setList(parent, items, { key, create, update }) {
  const old = new Map();
  for (const child of parent.children) if (!child.inert) old.set(child.dataset.key, child);
  let before = null;
  for (const item of items) {
    const id = String(key(item));
    let element = old.get(id);
    old.delete(id);
    if (!element) {
      element = create(item);
      element.dataset.key = id;
    }
    update(element, item);
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    if (place !== element) parent.insertBefore(element, place);
    before = element;
  }
  for (const element of old.values()) leave(element);
}

function leave(element) {
  if (element.contains(document.activeElement)) passFocus(element);
  element.inert = true;
  element.setAttribute("aria-hidden", "true");
  if (calm.matches || !element.offsetParent) {
    element.remove();
    return;
  }
  const from = { opacity: 1, height: `${element.offsetHeight}px` };
  const animation = element.animate([from, { opacity: 0, height: 0, paddingBlock: 0, minHeight: 0 }], { duration: 220, easing: "ease-in" });
  animation.onfinish = animation.oncancel = () => element.remove();
}

function passFocus(element) {
  const neighbour = element.nextElementSibling ?? element.previousElementSibling;
  const heir = neighbour?.querySelector("button") ?? element.closest("[tabindex='-1']");
  heir?.focus();
}
