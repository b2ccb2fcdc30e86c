# Drivers and executors with what a notebook expects: IPython, pandas, pyarrow and matplotlib. From the repository's root:
#
#   docker build -f docker/driver.Dockerfile -t longwick-driver .
#
# BASE is any image of Spark 4 with Java, Python 3.10 or later and pip, laid out as Spark's own; UID is its user, which stays. Drivers need
# nothing from here: BASE itself runs them too, without pictures and tables.
ARG BASE=docker.io/apache/spark:4.1.2-scala2.13-java17-python3-ubuntu

FROM ${BASE}
ARG UID=185
USER 0
COPY docker/driver-requirements.txt /opt/driver-requirements.txt
# Newer Debians and Ubuntus guard their own Python, which is the only one here.
RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --no-cache-dir --no-warn-script-location --no-deps -r /opt/driver-requirements.txt
USER ${UID}
