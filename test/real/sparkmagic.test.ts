import { startServer } from "../kit/server.ts";
import { sparkmagicNotebook } from "../kit/sparkmagic-notebook.ts";

sparkmagicNotebook("a notebook of Sparkmagic's PySpark kernel with only the URL set", () => startServer(), {
  runMs: 280_000,
  // Four where nothing else runs; an interrupt that is not heard ends nothing in a minute.
  interruptSeconds: 30,
});
