// The list of notes follows what happens in other windows.
const list = document.getElementById("notes");
if (list) {
  const events = new EventSource("/api/changes");
  for (const what of ["added", "changed", "deleted"])
    events.addEventListener(what, async () => {
      const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
      list.replaceChildren(...page.getElementById("notes").children);
    });
}
