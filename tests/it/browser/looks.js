// What is wrong with how a page looks that needs no eyes to be seen: text that is hard to tell from its ground (WCAG 2.2,
// 1.4.3), what a finger misses, and what sticks out of the window. The bounds are of people, not of taste.
const faults = [];
const name = element => `<${element.localName}> "${(element.innerText || element.name || "").slice(0, 40)}"`;
const numbers = colour => (colour.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const linear = part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
};
const ground = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set([...document.querySelectorAll("input:not([type=hidden])")]);
while (texts.nextNode()) if (texts.currentNode.data.trim()) seen.add(texts.currentNode.parentElement);
for (const element of seen) {
  const style = getComputedStyle(element);
  if (!element.checkVisibility()) continue;
  const [one, other] = [light(numbers(style.color)), light(ground(element))].sort((a, b) => b - a);
  const contrast = (one + 0.05) / (other + 0.05);
  const isLarge = parseFloat(style.fontSize) >= 24;
  if (contrast < (isLarge ? 3 : 4.5)) faults.push(`contrast of ${contrast.toFixed(1)} in ${name(element)}`);
  const box = element.getBoundingClientRect();
  if (box.right > innerWidth + 0.5 || box.left < -0.5) faults.push(`${name(element)} sticks out`);
}
for (const element of document.querySelectorAll("button, input:not([type=hidden]), select, textarea, a")) {
  // A link in a sentence is as high as its line; a box to tick is as large as what its label is.
  const isInline = getComputedStyle(element).display === "inline";
  const touched = (element.type === "checkbox" || element.type === "radio") ? element.labels[0] || element : element;
  const height = touched.getBoundingClientRect().height;
  if (!isInline && height < 44) faults.push(`${name(element)} is ${height} pixels high`);
}
if (document.scrollingElement.scrollWidth > innerWidth) faults.push("the page can be moved sideways");
if (!document.title) faults.push("the page has no title");
return faults;
