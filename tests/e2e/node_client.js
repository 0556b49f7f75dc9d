// Draws one image and reads one stream, from the .proto files alone.
// Usage: node node_client.js HOST:PORT PROTO_DIRECTORY
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, protos] = process.argv.slice(2);
const definition = loader.loadSync("diffserve/rpc/v1/generation.proto", {
  includeDirs: [protos],
  keepCase: true,
  enums: String,
  oneofs: true,
});
const { ImageGeneration } = grpc.loadPackageDefinition(definition).diffserve.rpc.v1;
const client = new ImageGeneration(address, grpc.credentials.createInsecure());
const request = { parameters: { prompt: "an owl drawn for Node", seed: 7 } };
const deadline = () => ({ deadline: Date.now() + 30_000 });

client.Generate(request, deadline(), (error, answer) => {
  if (error) throw error;
  const events = [];
  const stream = client.GenerateStream(request, deadline());
  stream.on("data", (event) => events.push(event.event));
  stream.on("error", (failure) => { throw failure; });
  stream.on("end", () => streamTwo(answer, events));
});

// A stream of two images, each with its own events and its own end.
function streamTwo(answer, events) {
  const finished = [];
  const stream = client.GenerateStream({ ...request, n: 2, query_id: `node-${Date.now()}` }, deadline());
  stream.on("data", (event) => {
    if (event.event === "done") finished.push([event.index || 0, event.done.seed.toString()]);
  });
  stream.on("error", (failure) => { throw failure; });
  stream.on("end", () => {
    const bad = { parameters: { prompt: "" } };
    client.Generate(bad, deadline(), (refusal) => {
      console.log(JSON.stringify({
        is_png: answer.image.data.subarray(1, 4).toString() === "PNG",
        variant_id: answer.variant_id,
        seed: answer.seed.toString(),
        events,
        finished: finished.sort(),
        refusal: refusal && refusal.code === grpc.status.INVALID_ARGUMENT && refusal.details,
      }));
      client.close();
    });
  });
}
