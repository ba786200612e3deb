// What is wrong with how the page looks now: a list of sentences. page_looks_test.go runs it.
(() => {
  const wrong = new Set();
  const name = (e) => `${e.tagName.toLowerCase()}${e.id && `#${e.id}`}${[...e.classList].map((c) => `.${c}`).join("")}${e.dataset.part ? `[${e.dataset.part}]` : ""}`;
  const parents = (e) => (e ? [e, ...parents(e.parentElement)] : []);

  // Colors.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  // background is the color behind an element's content.
  const background = (e) => {
    if (!e) return rgba("Canvas");
    const color = rgba(getComputedStyle(e).backgroundColor);
    return color[3] === 1 ? color : over(color, background(e.parentElement));
  };
  const opacity = (e) => parents(e).reduce((o, p) => o * Number(getComputedStyle(p).opacity), 1);
  const check = (e, what, color, behind, least) => {
    for (const p of parents(e)) if (getComputedStyle(p).filter !== "none") wrong.add(`${name(p)} has a filter, which this check doesn't know`);
    const [r, g, b, a] = rgba(color);
    const found = ratio(over([r, g, b, a * opacity(e)], behind), behind);
    if (found < least) wrong.add(`${what} of ${name(e)} has a contrast of ${found.toFixed(2)}; want ${least} (${e.textContent.trim().slice(0, 30)})`);
  };

  const top = document.querySelector("dialog[open]") ?? document.body;
  const visible = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest("[inert]") && e.getClientRects().length > 0;
  const all = [...top.querySelectorAll("*")].filter((e) => visible(e) && !e.matches(".skip:not(:focus)"));

  // Texts.
  const texts = document.createTreeWalker(top, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !visible(e) || e.closest("script, style, template, .skip:not(:focus)")) continue;
    const style = getComputedStyle(e);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    check(e, "text", style.color, background(e), large ? 3 : 4.5);
    range.selectNodeContents(texts.currentNode);
    for (const rect of range.getClientRects()) cut(e, rect);
  }

  // cut notices what no scrolling brings into view.
  function cut(e, rect) {
    for (const p of parents(e)) {
      const { overflowX, overflowY } = getComputedStyle(p);
      const box = p === document.body || p === document.documentElement ? new DOMRect(0, 0, innerWidth, innerHeight) : p.getBoundingClientRect();
      if (p.matches(".preview")) return; // of a message, which one opens
      if (["auto", "scroll"].includes(overflowX)) return;
      const hides = ["hidden", "clip"];
      if (hides.includes(overflowX) && (rect.left < box.left - 1 || rect.right > box.right + 1)) wrong.add(`${name(e)} is cut by ${name(p)}: ${e.textContent.trim().slice(0, 40)}`);
      if (["auto", "scroll"].includes(overflowY)) return;
      if (hides.includes(overflowY) && (rect.top < box.top - 1 || rect.bottom > box.bottom + 1)) wrong.add(`${name(e)} is cut by ${name(p)}: ${e.textContent.trim().slice(0, 40)}`);
    }
  }

  // Controls.
  const against = (e) => background(e.parentElement);
  for (const e of all) {
    const style = getComputedStyle(e);
    if (e.matches("input[placeholder]") && !e.value) check(e, "placeholder", getComputedStyle(e, "::placeholder").color, background(e), 4.5);
    if (e.matches(".composer input")) check(e, "border", style.borderTopColor, against(e), 3);
    if (e.matches(".button, .tabs a")) {
      const edge = ratio(background(e), against(e)) >= 3 ? style.backgroundColor : style.borderTopColor;
      check(e, "edge", edge, against(e), 3);
    }
    if (e.matches(".switch")) {
      check(e, "track", style.backgroundColor, against(e), 3);
      check(e, "knob", getComputedStyle(e, "::after").backgroundColor, background(e), 3);
    }
    if (e.matches("button .icon, a .icon")) check(e, "icon", style.stroke, background(e), 3);
    if (e.matches(".bar i")) check(e, "bar", style.backgroundColor, background(e.parentElement), 3);
    if (e.matches("button, input, a, .badge, .status")) cut(e, e.getBoundingClientRect());
    if (e.matches(".preview") && e.clientWidth < 90) wrong.add(`${name(e)} has room for ${e.clientWidth} px: ${e.textContent}`);
    if (document.activeElement === e && e.matches(":focus-visible") && style.outlineStyle !== "none") check(e, "focus", style.outlineColor, against(e), 3);
  }

  // Toasts cover nothing that is of use.
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  for (const toast of document.querySelectorAll(".toast")) {
    for (const e of document.querySelectorAll("main > *, .device, .card, .stored, button, input, a:not(.skip)")) {
      if (visible(e) && meet(toast.getBoundingClientRect(), e.getBoundingClientRect())) wrong.add(`the toast covers ${name(e)}`);
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) wrong.add(`the page is ${document.documentElement.scrollWidth} px wide, the window ${innerWidth}`);
  return [...wrong];
})();
