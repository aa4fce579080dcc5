// The page asks for a look by a single request: its answer is the part of the page that shows the look. Pictures and
// weights are plain addresses in it, so nothing has to arrive in order and nothing can get lost between two events.
"use strict";
(() => {
  const $ = (name) => document.getElementById(name);
  const box = $("words"), problem = $("problem"), status = $("status"), input = $("file-input");
  const BUSY = 503, TRIES = 4;
  let asked = null; // the request under way; a newer one replaces it
  let shown = { ...JSON.parse($("result").dataset.query), photo: $("result").dataset.photo };
  const first = JSON.parse($("result").dataset.query);
  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

  const complain = (text) => { problem.textContent = text; problem.hidden = !text; };

  const fetchPatiently = async (address, options) => {
    for (let n = 1; ; n += 1) {
      const answer = await fetch(address, options);
      if (answer.status !== BUSY || n === TRIES) return answer;
      status.textContent = "Many people are here just now; trying again";
      await pause(Number(answer.headers.get("Retry-After")) || 4);
      if (options?.signal?.aborted) throw new DOMException("replaced", "AbortError");
    }
  };

  const reason = async (answer) => {
    try { return (await answer.json()).detail || `the server said ${answer.status}. Try again`; }
    catch { return `the server said ${answer.status}. Try again`; }
  };

  const load = (source) => { const image = new Image(); image.src = source; return image.decode(); };

  // The address of the page names the look, but not the photo, which belongs to this visitor.
  const write = (query, isBack) => {
    const { photo, ...look } = query;
    const { pairs, ...named } = look; // pairs belong to this visitor, too
    const text = new URLSearchParams(named).toString();
    if (!isBack) history.pushState(look, "", text ? `?${text}` : "./");
    document.title = `${$("result").dataset.words} · initzoo`;
    // In a frame of the Hub, the address that visitors see and share is that of the outer page.
    if (window.parent !== window) window.parent.postMessage({ queryString: text, hash: "" }, "https://huggingface.co");
  };

  const focusName = (one) => one && one.closest("#result") && (one.dataset.strength ? `[data-strength="${one.dataset.strength}"]`
    : one.classList.contains("slider") ? ".slider" : one.id ? `#${one.id}` : one.dataset.words ? ".slider" : null);

  const swap = (html) => {
    const old = $("result");
    const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("result");
    const focused = focusName(document.activeElement), at = old.querySelector(".slider").value;
    old.querySelectorAll("details[open]").forEach((one) => { fresh.querySelector(`#${one.id}`).open = true; });
    old.replaceWith(fresh);
    fresh.querySelector(".slider").value = at;
    slide(fresh.querySelector(".slider"));
    if (focused) fresh.querySelector(focused)?.focus({ preventScroll: true });
    mark();
  };

  const mark = () => {
    document.querySelectorAll("#tries .card").forEach((one) => {
      one.setAttribute("aria-current", one.dataset.words === shown.words && !shown.with ? "true" : "false");
    });
    document.querySelectorAll(".photo").forEach((one) => {
      one.setAttribute("aria-pressed", one.dataset.photo === shown.photo ? "true" : "false");
    });
  };

  const go = async (query, { isBack = false } = {}) => {
    asked?.abort();
    const mine = asked = new AbortController();
    $("result").setAttribute("aria-busy", "true");
    status.textContent = "Working";
    try {
      const answer = await fetchPatiently(`look?${new URLSearchParams(query)}`, { signal: mine.signal });
      if (!answer.ok) throw new Error(await reason(answer));
      const html = await answer.text();
      const fresh = new DOMParser().parseFromString(html, "text/html");
      // Both pictures first: the old ones stay on the screen until the new ones are there.
      await Promise.all([...fresh.querySelectorAll(".compare img")].map((one) => picture(one.getAttribute("src"), mine.signal)));
      if (mine !== asked) return;
      const isNewPhoto = query.photo !== shown.photo;
      shown = query;
      swap(html);
      box.value = query.words || "";
      if (isNewPhoto) redraw();
      complain("");
      write(query, isBack);
      status.textContent = `${$("result").dataset.words} is shown`;
    } catch (error) {
      if (mine !== asked || error.name === "AbortError") return;
      complain(error instanceof TypeError ? "The server cannot be reached. Check the connection and try again." : sentence(error.message));
      status.textContent = "";
    } finally {
      if (mine === asked) { asked = null; $("result").removeAttribute("aria-busy"); }
    }
  };

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

  // A picture that is refused because many wait is asked for again; what else is wrong with it is said.
  const picture = async (source, signal) => {
    try { await load(source); }
    catch {
      const answer = await fetchPatiently(source, { signal });
      if (!answer.ok) throw new Error(await reason(answer));
      await load(source);
    }
  };

  const redraw = () => {
    document.querySelectorAll("#tries .card").forEach((one) => {
      one.querySelector("img").src = `picture.webp?${new URLSearchParams({ words: one.dataset.words, photo: shown.photo, small: 1 })}`;
    });
  };

  const slide = (one) => one.closest(".compare").style.setProperty("--at", `${one.value}%`);

  document.addEventListener("input", (event) => { if (event.target.matches(".slider")) slide(event.target); });

  document.addEventListener("click", (event) => {
    const one = event.target.closest("button, a.brand");
    if (!one) return;
    if (one.dataset.strength) {
      const { strength, ...look } = shown;
      go(one.dataset.strength === "1" ? look : { ...look, strength: one.dataset.strength });
    } else if (one.dataset.words) {
      box.value = one.dataset.words;
      go({ words: one.dataset.words, photo: shown.photo });
      if (one.closest("#zoo, #similar")) $("result").scrollIntoView({ block: "start" });
    } else if (one.dataset.photo) {
      $("photo-note").textContent = "";
      go({ ...shown, photo: one.dataset.photo });
    } else if (one.dataset.step) {
      list(Number($("zoo-page").dataset.page) + Number(one.dataset.step));
    } else if (one.classList.contains("copy")) {
      copy(one);
    }
  });

  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ words: box.value, photo: shown.photo });
  });

  $("mix").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ ...Object.fromEntries(new FormData(event.target)), photo: shown.photo });
    $("result").scrollIntoView({ block: "start" });
  });

  // Pairs: photos before and after go together in the order of their names.
  $("pairs").querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target, words = form.elements.words.value.trim();
    const [befores, afters] = ["before", "after"].map((name) => [...form.elements[name].files]
      .sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true })));
    if (befores.length !== afters.length) return complain(`There are ${befores.length} photos before and ${afters.length} after. Choose as many of each.`);
    if (befores.length > Number(form.dataset.most)) return complain(`At most ${form.dataset.most} pairs are taken. Choose fewer.`);
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const keys = [];
      for (const [place, before] of befores.entries()) {
        status.textContent = `Sending pair ${place + 1} of ${befores.length}`;
        keys.push(`${(await send(before)).photo}-${(await send(afters[place])).photo}`);
      }
      await go({ ...(words ? { words } : {}), pairs: keys.join(","), photo: shown.photo });
      $("result").scrollIntoView({ block: "start" });
    } catch (error) {
      complain(error instanceof TypeError ? "The pairs did not arrive. Check the connection and try again." : sentence(error.message));
    } finally { button.disabled = false; }
  });

  addEventListener("popstate", (event) => {
    const look = event.state?.pairs ? event.state : Object.fromEntries(new URLSearchParams(location.search));
    go({ ...(look.words || look.pairs ? look : first), photo: shown.photo }, { isBack: true });
  });

  // Photos of visitors: chosen, dropped or pasted.
  const send = async (file) => {
    if (file.size > Number(input.dataset.most)) {
      throw new Error(`'${file.name}' has ${Math.round(file.size / 1e6)} MB, at most ${input.dataset.most / 1e6} are taken. Make it smaller.`);
    }
    const address = `photo?${new URLSearchParams({ name: file.name })}`;
    const answer = await fetchPatiently(address, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    if (!answer.ok) throw new Error(await reason(answer));
    return answer.json();
  };
  const take = async (file) => {
    if (!file) return;
    $("photo-note").textContent = "Reading the photo";
    try {
      const photo = await send(file);
      $("photo-note").textContent = photo.note || photo.name;
      complain("");
      await go({ ...shown, photo: photo.photo });
    } catch (error) {
      $("photo-note").textContent = "";
      complain(error instanceof TypeError ? "The photo did not arrive. Check the connection and try again." : sentence(error.message));
    }
  };
  input.addEventListener("change", () => { take(input.files[0]); input.value = ""; });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files || [])][0];
    if (file) { event.preventDefault(); take(file); }
  });
  let depth = 0;
  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  document.addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; $("drop").hidden = false; } });
  document.addEventListener("dragleave", (event) => { if (hasFiles(event)) { depth -= 1; if (depth <= 0) $("drop").hidden = true; } });
  document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    $("drop").hidden = true;
    take(event.dataTransfer.files[0]);
  });

  // The zoo, a page at a time; loaded when it is first opened.
  let isListed = false, listing = 0;
  const list = async (page) => {
    const number = listing += 1;
    const form = new FormData($("zoo").querySelector("form"));
    try {
      const answer = await fetchPatiently(`zoo?${new URLSearchParams({ ...Object.fromEntries(form), page })}`);
      if (!answer.ok) throw new Error(await reason(answer));
      const html = await answer.text();
      if (number !== listing) return;
      $("zoo-page").outerHTML = html;
      const at = Number($("zoo-page").dataset.page), last = Number($("zoo-page").dataset.pages);
      $("zoo").querySelector("[data-step='-1']").disabled = at <= 1;
      $("zoo").querySelector("[data-step='1']").disabled = at >= last;
    } catch (error) {
      const note = document.createElement("p");
      note.className = "problem";
      note.textContent = error instanceof TypeError ? "The server cannot be reached. Try again." : sentence(error.message);
      $("zoo-page").replaceChildren(note);
    }
  };
  $("zoo").addEventListener("toggle", () => { if ($("zoo").open && !isListed) { isListed = true; list(1); } });
  $("zoo").querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); list(1); });
  $("zoo").querySelector("select").addEventListener("change", () => list(1));

  // Small pictures that were refused are asked for once more, then the zoo's own picture stands in.
  document.addEventListener("error", (event) => {
    const image = event.target;
    if (!(image instanceof HTMLImageElement) || !image.closest(".card")) return;
    const n = Number(image.dataset.n || 0);
    image.dataset.n = n + 1;
    if (n < 2) setTimeout(() => { image.src = image.getAttribute("src"); }, 4000);
    else if (n === 2 && image.dataset.spare) image.src = image.dataset.spare;
  }, true);

  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };

  history.replaceState(Object.fromEntries(new URLSearchParams(location.search)), "");
  mark();
})();
