({
  // What is wrong with the page, a line for each: too wide, nameless, out of order.
  faults() {
    const faults = [], all = (selector) => [...document.querySelectorAll(selector)];
    const shown = (each) => each.outerHTML.slice(0, 120);
    const text = (each) => (each?.textContent || "").trim();
    const visible = (each) => each.checkVisibility({ visibilityProperty: true });
    const named = (each) => each.getAttribute("aria-label") || text(each) || each.title
      || (each.getAttribute("aria-labelledby") || "").split(" ").map((id) => text(document.getElementById(id))).join("")
      || [...(each.labels || [])].map(text).join("") || [...each.querySelectorAll("img")].map((img) => img.alt).join("");
    if (document.documentElement.scrollWidth > innerWidth) {
      const wide = all("body *").filter((each) => each.getBoundingClientRect().right > innerWidth + 1);
      faults.push(`wider than the screen: ${wide.slice(0, 3).map(shown).join(" ")}`);
    }
    for (const each of all("a[href], button, input:not([type=hidden]), select, textarea, summary, dialog"))
      if (visible(each) && !named(each)) faults.push(`without a name: ${shown(each)}`);
    for (const each of all("img")) {
      if (!each.hasAttribute("alt")) faults.push(`without alt: ${shown(each)}`);
      if (!each.getAttribute("width") || !each.getAttribute("height")) faults.push(`without a size: ${shown(each)}`);
    }
    const levels = all("h1, h2, h3, h4").filter(visible).map((each) => Number(each.tagName[1]));
    const jumps = levels.some((each, n) => n && each > levels[n - 1] + 1);
    if (jumps || levels.filter((each) => each === 1).length !== 1) faults.push(`headings: ${levels}`);
    for (const one of ["main", "body > header", "head > title", "html[lang]"])
      if (all(one).length !== 1) faults.push(`not one ${one}`);
    const ids = all("[id]").map((each) => each.id);
    for (const each of new Set(ids.filter((id, n) => ids.indexOf(id) !== n))) faults.push(`twice: #${each}`);
    for (const name of ["aria-describedby", "aria-labelledby", "for"])
      for (const each of all(`[${name}]`))
        for (const id of each.getAttribute(name).split(" "))
          if (!document.getElementById(id)) faults.push(`names what is not there: ${shown(each)}`);
    return faults;
  },

  // Words whose contrast to what lies below them is under 4.5 to 1, as far as that has one colour.
  dim() {
    const rgb = (text) => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const linear = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (each) => {
      for (; each; each = each.parentElement) {
        const colour = rgb(getComputedStyle(each).backgroundColor);
        if (colour.length < 4 || colour[3] > 0.99) return colour;
      }
      return [255, 255, 255];
    };
    const found = new Set();
    for (const each of document.querySelectorAll("body *")) {
      const speaks = [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
      if (!speaks || !each.checkVisibility() || each.closest(".visually-hidden, .skip, [disabled], option")) continue;
      const colour = getComputedStyle(each).color;
      const [most, least] = [light(rgb(colour)), light(ground(each))].sort((a, b) => b - a);
      const ratio = (most + 0.05) / (least + 0.05);
      if (ratio < 4.495) found.add(`${ratio.toFixed(2)}: ${each.tagName}.${each.className} ${colour}`);
    }
    return [...found];
  },

  // Bytes by address, unpacked, of all but pictures.
  sizes() {
    const loaded = ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind));
    const others = loaded.filter((each) => each.initiatorType !== "img" && !each.name.includes("/images/"));
    return Object.fromEntries(others.map((each) => [each.name, each.decodedBodySize]));
  },
})
