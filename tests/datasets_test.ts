import { assertEquals } from "@std/assert";
import { randomKey } from "../src/core/random.ts";
import { readSequenceSplits } from "../src/data/read_sequences.ts";

Deno.test("weather: two weeks and whether the day after is colder, the same or warmer", async () => {
  const folder = await Deno.makeTempDir({ prefix: "gatewise_weather_" });
  const highest = [10, 12, 12.5, 9];
  const rows = ["Seattle", "New York"].flatMap((location) =>
    Array.from({ length: 100 }, (_, i) => {
      const date = new Date(Date.UTC(2012, 0, 1 + i)).toISOString().slice(0, 10);
      return `${location},${date},0.5,${highest[i % 4]},-1,${i},${["rain", "sun"][i % 2]}`;
    })
  );
  const head = "location,date,precipitation,temp_max,temp_min,wind,weather";
  await Deno.writeTextFile(`${folder}/weather.csv`, [head, ...rows, ""].join("\n"));
  const make = async (kind: string) => {
    const script = new URL("datasets/weather.ts", import.meta.url).href;
    const args = ["run", "--allow-read", "--allow-write", script];
    const { success, stderr } = await new Deno.Command("deno", {
      args: [...args, `${folder}/weather.csv`, `${folder}/${kind}`, kind],
    }).output();
    assertEquals(success, true, new TextDecoder().decode(stderr));
    return await readSequenceSplits(`${folder}/${kind}`, { key: randomKey(1) });
  };
  const { train, validation, test } = await make("classes");
  assertEquals([train, validation, test].map(({ samples }) => samples.length), [92, 12, 12]);
  assertEquals(train.width, 9);
  assertEquals(train.classes, ["colder", "same", "warmer"]);
  for (const { samples } of [train, validation, test]) {
    for (const { id, values, steps, label } of samples) {
      // The wind is the number of the day.
      const next = Number(id!.split(" ").at(-1));
      assertEquals(steps, 14);
      const winds = Array.from({ length: 14 }, (_, t) => values[t * 9 + 3]);
      assertEquals(winds, winds.map((_, t) => next - 14 + t));
      assertEquals(label, [1, 2, 1, 0][next % 4]);
    }
  }
  assertEquals(Number(test.samples[0].id!.split(" ").at(-1)), 94);
  const forecast = await make("forecast");
  assertEquals(forecast.train.targets, ["target_max", "target_min", "target_wind"]);
  assertEquals([...forecast.test.samples[1].target!], [highest[95 % 4], -1, 95]);
  await Deno.remove(folder, { recursive: true });
});
