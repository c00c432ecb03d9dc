"""The script of /docs: a filter, all open at once, copying. Without it the page reads as well."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

SCRIPT: Final = """
const all = [...document.querySelectorAll("details")];
const texts = new Map(all.map(each => [each, each.textContent.toLowerCase()]));
const nav = document.querySelector("nav");
const find = document.createElement("input");
find.type = "search";
find.placeholder = matchMedia("(pointer: coarse)").matches ? "Filter" : "Filter (press /)";
find.setAttribute("aria-label", "Filter");
nav.prepend(find);
const none = document.createElement("p");
none.className = "quiet";
none.hidden = true;
none.textContent = "Nothing here has all these words.";
document.querySelector("h2").closest("section").before(none);

function filter() {
  const words = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const each of all) {
    each.hidden = !words.every(word => texts.get(each).includes(word));
    shown += !each.hidden;
  }
  for (const section of document.querySelectorAll("section"))
    section.hidden = words.length > 0 && !section.querySelector("details:not([hidden])");
  for (const link of nav.querySelectorAll("a")) {
    const target = document.getElementById(link.hash.slice(1));
    link.parentElement.hidden = !!target?.closest("[hidden]");
  }
  none.hidden = shown > 0;
}
find.addEventListener("input", filter);
addEventListener("keydown", event => {
  if (event.key === "/" && !event.metaKey && !event.ctrlKey && event.target !== find) {
    event.preventDefault();
    find.focus();
  } else if (event.key === "Escape" && event.target === find) {
    find.value = "";
    filter();
  }
});
// A link to what the filter hides shows it again.
addEventListener("hashchange", () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.closest("[hidden]")) { find.value = ""; filter(); target.scrollIntoView(); }
});

const toggle = document.createElement("button");
toggle.textContent = "Open all";
toggle.addEventListener("click", () => {
  const open = all.some(each => !each.open);
  for (const each of all) each.open = open;
  toggle.textContent = open ? "Close all" : "Open all";
});
document.querySelector("h1").after(toggle);

for (const pre of document.querySelectorAll("pre.try, #web-page-example")) {
  const copy = document.createElement("button");
  copy.textContent = "Copy";
  copy.className = "copy";
  const text = pre.textContent;
  copy.addEventListener("click", async () => {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else {  // a page over plain HTTP has no clipboard but the selection's
      getSelection().selectAllChildren(pre);
      document.execCommand("copy");
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  const frame = document.createElement("div");
  frame.className = "copyable";
  pre.replaceWith(frame);
  frame.append(pre, copy);
}
"""

# For the Content-Security-Policy: this very text, and no other.
SCRIPT_SOURCE: Final = (
    f"'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
