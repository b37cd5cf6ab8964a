"""The form for uploads on a listing, and the script that shows how far one has come.

Owns both texts. Without the script the form works, too.
"""

__all__ = ["UPLOAD_SCRIPT", "upload_form"]

_FORM = """<form method="post" action="./" enctype="multipart/form-data"%s>
<label>Files to upload, or drop them here: <input type="file" name="file" multiple required></label>
<button>Upload</button>
<progress hidden></progress>
<output></output>
</form>
"""


def upload_form(*, overwrite: bool) -> str:
    """The form; with ``overwrite`` the script does not ask whether a name is taken."""
    return _FORM % (' data-overwrite="yes"' if overwrite else "")


UPLOAD_SCRIPT = """
const form = document.querySelector("form"), input = form.elements.file, state = form.querySelector("output");
const bar = form.querySelector("progress"), button = form.querySelector("button");

function tell(text) {
  bar.hidden = true;
  button.disabled = false;
  state.textContent = text;
}

function reason(request) {
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  const lines = page.querySelectorAll("p");
  return lines.length ? lines[lines.length - 1].textContent : request.statusText;
}

async function taken(files) {
  for (const file of files) {
    const answer = await fetch(encodeURIComponent(file.name), {method: "HEAD"});
    if (answer.ok) return file.name;
  }
}

function send() {
  const request = new XMLHttpRequest();
  request.upload.onprogress = event => {
    if (!event.lengthComputable) return;
    bar.max = event.total;
    bar.value = event.loaded;
    state.textContent = Math.floor(100 * event.loaded / event.total) + " %";
  };
  request.onload = () => request.status < 300 ? location.reload() : tell(reason(request));
  request.onerror = () => tell("The connection was cut; nothing has been saved of what was under way.");
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  bar.hidden = false;
  bar.removeAttribute("value");
  button.disabled = true;
  request.send(new FormData(form));
}

form.addEventListener("submit", async event => {
  event.preventDefault();
  const name = form.dataset.overwrite ? undefined : await taken(input.files);
  if (name === undefined) send(); else tell("“" + name + "” is there already.");
});

document.addEventListener("dragover", event => { event.preventDefault(); form.classList.add("over"); });
document.addEventListener("dragleave", () => form.classList.remove("over"));
document.addEventListener("drop", event => {
  event.preventDefault();
  form.classList.remove("over");
  input.files = event.dataTransfer.files;
  form.requestSubmit();
});
"""
