import json
import os
import struct
import sys
import time

path = os.environ["_PYSPARK_DRIVER_CONN_INFO_PATH"]
with open(os.path.join(os.path.dirname(path), "java-started.json"), "w") as file:
    json.dump({"argv": sys.argv[1:], "env": dict(os.environ)}, file)
if os.path.exists(os.path.join(os.path.dirname(path), "java-fails")):
    sys.stderr.write("Error: this JVM does not start\n")
    sys.exit(3)
while os.path.exists(os.path.join(os.path.dirname(path), "java-waits")):
    time.sleep(0.01)
secret = b"secret"
with open(path + ".tmp", "wb") as file:
    file.write(struct.pack(">ii", 4242, len(secret)) + secret)
os.rename(path + ".tmp", path)
while os.read(0, 100):
    pass
