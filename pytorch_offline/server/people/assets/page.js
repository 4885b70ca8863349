// What the page does beyond reading: answers take effect at once, texts are copied, the list is filtered while typing.
// The server makes every command; this asks it for the same page again and puts the new parts in place. Without it, the
// forms of the page do the same.
"use strict";

(() => {
  const here = location.origin + location.pathname.replace(/[^/]*$/, "").replace(/\/$/, "");
  const picker = document.getElementById("picker");
  const filter = document.getElementById("filter");
  let asking = null;

  // Each form has hidden fields for what is asked in the other one; here what stands there now counts.
  const query = () => {
    const fields = new URLSearchParams();
    const set = (name, value) => (value ? fields.set(name, value) : fields.delete(name));
    for (const [name, value] of new FormData(picker || filter)) set(name, value);
    set("q", filter ? filter.elements.q.value.trim() : "");
    return fields;
  };

  // Answers stay the elements that they are, so that the focus stays where it is and nothing is read out again.
  const adopt = (fresh) => {
    const answers = document.querySelectorAll("#picker .answer");
    const renewed = fresh.querySelectorAll("#picker .answer");
    const same = answers.length === renewed.length
      && [...answers].every((answer, number) => answer.firstElementChild.value === renewed[number].firstElementChild.value);
    if (!same) { // the mirror holds something else by now
      const fields = query();
      fields.delete("was");
      location.replace("?" + fields + location.hash);
      return;
    }
    answers.forEach((answer, number) => {
      const other = renewed[number];
      answer.className = other.className;
      answer.title = other.title;
      answer.querySelector("input").checked = other.querySelector("input").defaultChecked;
      answer.querySelector(".face").textContent = other.querySelector(".face").textContent;
      answer.querySelector(".hint").textContent = other.querySelector(".hint").textContent;
    });
    for (const input of document.querySelectorAll("input[type=hidden]")) {
      const other = fresh.querySelector(`#${input.form.id} input[type=hidden][name="${input.name}"]`);
      if (other) input.value = other.value;
    }
    const older = fresh.querySelectorAll(".older");
    document.querySelectorAll(".older").forEach((one, number) => {
      if (older[number] && older[number].open) one.open = true;
    });
    for (const selector of [".name p", ".changed", "#result", "#list", "#settings .blocks", "#locks .lines"]) {
      const old = document.querySelector(selector);
      const other = fresh.querySelector(selector);
      if (!old || !other || old.innerHTML === other.innerHTML) continue;
      if (selector === "#result") {
        // The line that is read out aloud stays; what comes after it is replaced.
        while (old.children.length > 1) old.lastElementChild.remove();
        old.append(...[...other.children].slice(1));
      } else {
        old.replaceChildren(...other.childNodes);
      }
    }
    document.title = fresh.title;
    const language = document.querySelector("a.language");
    language.setAttribute("href", fresh.querySelector("a.language").getAttribute("href"));
  };

  const ask = async (fields, otherwise) => {
    if (asking) asking.abort();
    const mine = asking = new AbortController();
    try {
      const answer = await fetch("?" + fields, {
        headers: { "X-Mirror-Address": here },
        signal: mine.signal,
        credentials: "same-origin",
      });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (mine !== asking) return false;
      adopt(fresh);
      return true;
    } catch (error) {
      if (error.name === "AbortError") return false;
      if (otherwise) otherwise.submit();
      return false;
    }
  };

  const remember = () => {
    const fields = query();
    fields.delete("was");
    history.replaceState(null, "", "?" + fields + location.hash);
  };

  const copied = async (text, source) => {
    if (navigator.clipboard && window.isSecureContext) {
      try {
        await navigator.clipboard.writeText(text);
        return true;
      } catch { /* no permission: the old way may still be allowed */ }
    }
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    field.setAttribute("aria-hidden", "true");
    document.body.append(field);
    field.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch { /* nothing copies here */ }
    field.remove();
    if (!done) {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
    return done;
  };

  document.documentElement.classList.add("scripted");

  if (picker) {
    picker.addEventListener("change", async () => {
      if (await ask(query(), picker)) remember();
    });
    picker.addEventListener("submit", (event) => event.preventDefault());
  }

  if (filter) {
    let waiting = 0;
    filter.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(async () => {
        if (await ask(query(), null)) remember();
      }, 120); // between two letters of somebody who types
    });
    filter.addEventListener("submit", (event) => event.preventDefault());
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const source = document.getElementById(button.dataset.copies);
    const usual = button.dataset.usual || button.textContent;
    button.dataset.usual = usual;
    button.textContent = await copied(source.textContent, source) ? button.dataset.copied : button.dataset.failed;
    button.focus({ preventScroll: true });
    clearTimeout(Number(button.dataset.timer));
    button.dataset.timer = setTimeout(() => { button.textContent = usual; }, 2000);
  });

  // Behind a proxy the server may not know what it is called: the browser does.
  const said = document.querySelector("meta[name=mirror-address]");
  if (picker && said && said.content !== here) ask(query(), null);
})();
