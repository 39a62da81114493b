// The UI works without this module. It refreshes progress, warns before a session ends, and clears
// what was typed when a page is left.

const live = document.querySelector("[data-refresh]");
if (live) {
  const timer = setInterval(refresh, 2000);
  async function refresh() {
    if (document.hidden) return;
    try {
      const answer = await fetch(live.dataset.refresh, { credentials: "same-origin", redirect: "error" });
      if (answer.status === 404) clearInterval(timer);
      if (!answer.ok) return;
      const text = await answer.text();
      if (text !== live.dataset.last) {
        live.dataset.last = text;
        live.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
      }
    } catch {
      // the server restarts, or another node takes over: the next refresh tries again
    }
  }
}

// A share or a password does not stay in a page that is left, even where the browser keeps it.
addEventListener("pagehide", () => {
  for (const field of document.querySelectorAll("[data-secret]")) field.value = "";
});

// The idle time begins anew with every page.
const idle = Number(document.body.dataset.idle);
if (idle > 0) {
  const warning = document.getElementById("session-warning");
  let timer = setTimeout(warn, (idle - 120) * 1000);
  function warn() {
    warning.hidden = false;
    timer = setTimeout(() => location.reload(), 130 * 1000);
  }
  warning.querySelector("button").addEventListener("click", async () => {
    const answer = await fetch("/ui/session", { credentials: "same-origin" });
    if (!answer.ok) return location.reload();
    clearTimeout(timer);
    warning.hidden = true;
    timer = setTimeout(warn, (idle - 120) * 1000);
  });
}

// The reader of a screen hears what came of a form.
document.querySelector("[data-focus]")?.focus();
