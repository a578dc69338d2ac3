"""Runs tasks through Celery. Arguments: the prefix of its keys, and the ports of nodes: tasks are
sent through the first one and worked on through the last one, by a worker in a process of its own.
"""

import os
import sys
import time

import celery
import worker_process
from celery import Celery, chain, chord, group

PREFIX = os.environ.get("BAILIWICK_PREFIX") or sys.argv[1]
PORTS = os.environ.get("BAILIWICK_PORTS", " ".join(sys.argv[2:])).split()
TASKS = 100
WAIT_S = 60


def make(port):
    url = f"redis://127.0.0.1:{port}/0"
    made = Celery("tasks", broker=url, backend=url)
    options = {"global_keyprefix": PREFIX}
    made.conf.update(
        broker_transport_options={**options, "visibility_timeout": 60},
        result_backend_transport_options=options,
        broker_connection_retry_on_startup=True,
        worker_send_task_events=True,
        result_expires=600,
        task_acks_late=True,
    )
    return made


app = make(PORTS[-1] if "BAILIWICK_PORTS" in os.environ else PORTS[0])


@app.task(name="double")
def double(number):
    return 2 * number


@app.task(name="total")
def total(numbers):
    return sum(numbers)


@app.task(name="when")
def when():
    return time.time()


@app.task(name="flaky", bind=True, max_retries=5, default_retry_delay=0.1)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(exc=ValueError(f"run {self.request.retries}"))
    return self.request.retries


@app.task(name="hopeless")
def hopeless():
    raise ValueError("never")


def use():
    sent = [double.delay(number) for number in range(TASKS)]
    assert [one.get(timeout=WAIT_S) for one in sent] == [2 * number for number in range(TASKS)]

    started = time.time()
    delayed = [when.apply_async(countdown=1) for _ in range(5)]
    assert all(one.get(timeout=WAIT_S) >= started + 1 for one in delayed)

    assert flaky.delay().get(timeout=WAIT_S) == 2
    failed = hopeless.delay()
    try:
        failed.get(timeout=WAIT_S)
        raise SystemExit("a task that fails has a result")
    except ValueError as error:
        assert str(error) == "never"
    assert failed.state == "FAILURE"

    assert chain(double.s(1), double.s(), double.s())().get(timeout=WAIT_S) == 8
    together = group(double.s(number) for number in range(10))()
    assert together.get(timeout=WAIT_S) == [2 * number for number in range(10)]
    assert chord((double.s(number) for number in range(10)), total.s())().get(timeout=WAIT_S) == 90

    # Orders to the worker go out as messages and are answered through queues. One answer is all.
    assert len(app.control.ping(timeout=WAIT_S, limit=1)) == 1
    inspect = app.control.inspect(timeout=WAIT_S, limit=1)
    assert len(inspect.stats()) == 1
    unwanted = when.apply_async(countdown=600)
    unwanted.revoke()
    until = time.monotonic() + WAIT_S
    while unwanted.id not in inspect.revoked()["worker@here"]:
        assert time.monotonic() < until, "the worker did not hear of it"

    for one in sent:
        one.forget()
    with app.connection_or_acquire() as connection:
        assert connection.default_channel.queue_purge("celery") == 0


def main():
    environment = {**os.environ, "BAILIWICK_PREFIX": PREFIX, "BAILIWICK_PORTS": " ".join(PORTS)}
    here = os.path.dirname(os.path.abspath(__file__))
    words = ["-m", "celery", "-q", "--workdir", here, "-A", "celery_py", "worker", "-P", "threads"]
    words += ["-c", "4", "-l", "critical", "--without-mingle", "-n", "worker@here"]
    with worker_process.running(words, environment):
        use()
    print("celery", celery.__version__, *PORTS, "ok")


if __name__ == "__main__":
    main()
