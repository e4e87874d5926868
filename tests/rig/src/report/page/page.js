// Without it everything can be read: it opens what a link leads into, and looks closer at a map.
"use strict";
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  target.querySelectorAll(":scope > details.more").forEach((more) => { more.open = true; });
  target.scrollIntoView({ block: "center" });
};
addEventListener("hashchange", reveal);
reveal();
document.querySelectorAll(".map").forEach((map) => {
  const first = Number(map.dataset.first), all = Number(map.dataset.last) - first;
  let from = 0, width = 1;
  const show = () => {
    width = Math.min(Math.max(width, 4096 / all), 1);
    from = Math.min(Math.max(from, 0), 1 - width);
    map.querySelectorAll("svg").forEach((svg) => svg.setAttribute("viewBox", `${from * 1e6} 0 ${width * 1e6} 10`));
    const ends = map.querySelectorAll(".ends code");
    [from, from + width].forEach((at, n) => { ends[n].textContent = "0x" + Math.round(first + at * all).toString(16); });
  };
  const bar = document.createElement("span");
  bar.className = "zoom";
  const about = map.querySelector("figcaption").textContent;
  [["+", "closer", () => { from += width / 4; width /= 2; }],
   ["\u2212", "wider", () => { from -= width / 2; width *= 2; }],
   ["\u25c0", "lower", () => { from -= width / 4; }],
   ["\u25b6", "higher", () => { from += width / 4; }]].forEach(([sign, word, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = sign;
    button.title = word;
    button.setAttribute("aria-label", `${about}: ${word}`);
    button.addEventListener("click", () => { act(); show(); });
    bar.append(button);
  });
  map.querySelector("figcaption").append(bar);
});
