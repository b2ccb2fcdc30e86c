import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { APPLICATIONS, type Place } from "./batch-clients.ts";
import { driverPython } from "./python.ts";

const run = promisify(execFile);
/** javac is slow on a machine that others use too. */
const COMPILE_MS = 120_000;

/** What Spark's own SparkPi does, for any Spark: no package of Spark 4 brings its examples. */
const SPARK_PI = `
package longwick.test;
import java.util.stream.*;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.api.java.JavaSparkContext;
public class SparkPi {
  public static void main(String[] args) {
    SparkSession spark = SparkSession.builder().getOrCreate();
    int slices = args.length > 0 ? Integer.parseInt(args[0]) : 2;
    if (slices == 0) throw new IllegalArgumentException("no slices", new RuntimeException("zero was asked for"));
    JavaSparkContext context = new JavaSparkContext(spark.sparkContext());
    int n = 10000 * slices;
    long inside = context.parallelize(IntStream.range(0, n).boxed().collect(Collectors.toList()), slices)
      .filter(i -> { double x = Math.random() * 2 - 1, y = Math.random() * 2 - 1; return x * x + y * y <= 1; }).count();
    System.out.println("Pi is roughly " + 4.0 * inside / n);
    spark.stop();
  }
}
`;

/** The last release of Spark's examples that is published as a package; Spark 3, whose Scala is 2.12, still runs them. */
const EXAMPLES = "org.apache.spark:spark-examples_2.10:1.1.1";
/** Spark of that time, and what other examples need. */
const NOT_NEEDED = [
  ...["bagel", "core", "graphx", "hive", "mllib", "sql", "streaming"].map((part) => `org.apache.spark:spark-${part}*`),
  ...["com.github.scopt", "com.twitter", "org.apache.cassandra", "org.apache.commons", "org.apache.hbase", "org.eclipse.jetty"].map(
    (group) => `${group}:*`,
  ),
  "org.scala-lang:*",
];
const FETCH = `import sys
from pyspark.sql import SparkSession
conf = zip(["spark.master", "spark.ui.enabled", "spark.jars.ivy", "spark.jars.packages", "spark.jars.excludes"], sys.argv[1:])
builder = SparkSession.builder
for key, value in conf:
    builder = builder.config(key, value)
builder.getOrCreate().stop()
`;
const FETCH_MS = 180_000;

const PACK = `import glob, os, subprocess, sys
os.chdir(sys.argv[1])
subprocess.run([sys.executable, "-m", "venv", "--without-pip", "environment"], check=True)
with open(glob.glob("environment/lib/python*/site-packages")[0] + "/" + sys.argv[2] + ".py", "w") as file:
    file.write(sys.argv[3])
subprocess.run(["tar", "-czf", "environment.tar.gz", "-C", "environment", "."], check=True)
`;

/** Applications in files of a directory, as a team's release would bring them. */
export class Applications implements AsyncDisposable {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async make(): Promise<Applications> {
    return new Applications(await mkdtemp(join(tmpdir(), "lw-apps-")));
  }

  /** A Python application; answers its path. */
  async python(name: string, code: string): Promise<string> {
    const path = join(this.directory, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, code);
    return path;
  }

  /** Those that clients submit. */
  async forClients(): Promise<Place> {
    for (const [name, code] of Object.entries(APPLICATIONS)) await this.python(name, code);
    return (name) => join(this.directory, name);
  }

  /** A zip file with one Python module in it. */
  async module(archive: string, name: string, code: string): Promise<string> {
    const path = join(this.directory, archive);
    const program = "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'w').writestr(sys.argv[2], sys.argv[3])";
    await run(await driverPython(), ["-c", program, path, name, code]);
    return path;
  }

  /** A virtual environment of the drivers' Python with one module in it and no other, packed. */
  async environment(module: string, code: string): Promise<string> {
    const path = join(this.directory, "environment.tar.gz");
    await run(await driverPython(), ["-c", PACK, this.directory, module, code], { timeout: COMPILE_MS });
    return path;
  }

  /** SparkPi, compiled for the Spark of the tests: main class `longwick.test.SparkPi`, which the jar names too. */
  async sparkPi(): Promise<string> {
    const source = await this.python("java/longwick/test/SparkPi.java", SPARK_PI);
    const classes = join(this.directory, "classes");
    const jar = join(this.directory, "spark-pi.jar");
    const jars = "import os, pyspark; print(os.path.join(os.path.dirname(pyspark.__file__), 'jars', '*'))";
    const { stdout } = await run(await driverPython(), ["-c", jars]);
    await run("javac", ["-proc:none", "-d", classes, "-cp", stdout.trim(), source], { timeout: COMPILE_MS });
    await run("jar", ["--create", "--file", jar, "--main-class", "longwick.test.SparkPi", "-C", classes, "."], { timeout: COMPILE_MS });
    return jar;
  }

  /** Spark's own examples in their jar, fetched as Spark fetches packages. `python` has a Spark 3. */
  async sparkExamples(python: string): Promise<string> {
    const ivy = join(this.directory, "ivy");
    await run(python, ["-c", FETCH, "local[1]", "false", ivy, EXAMPLES, NOT_NEEDED.join(",")], { timeout: FETCH_MS });
    return join(ivy, "jars", `${EXAMPLES.replace(":", "_").replace(":", "-")}.jar`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
