// Server-sent events of a POST: EventSource can only GET.

/** Yield {name, data} of each event of a response, as they come. */
export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      const field = (name) =>
        block.split("\n").filter((line) => line.startsWith(name + ": ")).map((line) => line.slice(name.length + 2)).join("\n");
      yield { name: field("event"), data: JSON.parse(field("data")) };
    }
  }
}
