// Light, dark, or as the system says: kept from one visit to the next, and applied before the page is drawn.
"use strict";

const THEMES = ["auto", "light", "dark"];

function storedTheme() {
  try {
    const theme = localStorage.getItem("theme");
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto";  // storage may be forbidden
  }
}

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

applyTheme(storedTheme());
document.addEventListener("DOMContentLoaded", () => {
  const field = document.getElementById("theme");
  field.querySelector(`[value="${storedTheme()}"]`).checked = true;
  field.addEventListener("change", (event) => {
    applyTheme(event.target.value);
    try {
      localStorage.setItem("theme", event.target.value);
    } catch {
      // Then it holds for this visit only.
    }
  });
});
