"""Runs jobs through RQ. Arguments: the ports of nodes: jobs are added through the first one and
worked on through the last one, by a worker with a scheduler in a process of its own.
"""

import os
import sys
import time
from datetime import timedelta

import worker_process

JOBS = 100
WAIT_S = 60


def double(number):
    return 2 * number


def when():
    return time.time()


def flaky(key, port):
    import redis

    run = redis.Redis(port=port).incr(key)
    if run < 3:
        raise ValueError(f"run {run}")
    return run


def hopeless():
    raise ValueError("never")


def wait(job, status):
    until = time.monotonic() + WAIT_S
    while (found := job.get_status(refresh=True).value) != status:
        assert time.monotonic() < until, f"{job.func_name} is {found}, expected {status}"
        assert found not in ("failed", "finished"), f"{job.func_name} is {found}: {job.exc_info}"
        time.sleep(0.02)
    return job.return_value(refresh=True)


def use(connection, port):
    from rq import Queue, Retry
    from rq.registry import FailedJobRegistry

    queue = Queue("jobs", connection=connection)
    jobs = [queue.enqueue(double, number) for number in range(JOBS)]
    assert [wait(job, "finished") for job in jobs] == [2 * number for number in range(JOBS)]

    with connection.pipeline() as pipe:
        many = [Queue.prepare_data(double, (number,)) for number in range(10)]
        many = queue.enqueue_many(many, pipeline=pipe)
        pipe.execute()
    assert [wait(job, "finished") for job in many] == [2 * number for number in range(10)]

    started = time.time()
    # What is scheduled is so to the second.
    later = queue.enqueue_in(timedelta(seconds=2), when)
    assert wait(later, "finished") >= started + 1

    runs = f"rq:runs:{port}"
    patient = queue.enqueue(flaky, runs, port, retry=Retry(max=3))
    assert wait(patient, "finished") == 3
    failed = queue.enqueue(hopeless)
    wait(failed, "failed")
    assert "never" in failed.latest_result().exc_string
    assert failed.id in FailedJobRegistry(queue=queue)

    first = queue.enqueue(double, 1)
    second = queue.enqueue(double, 2, depends_on=[first])
    assert wait(second, "finished") == 4
    connection.delete(runs)
    assert queue.delete() is None


def main():
    import redis
    import rq

    ports = [int(port) for port in sys.argv[1:]]
    here = os.path.dirname(os.path.abspath(__file__))
    words = ["-m", "rq.cli", "worker", "--with-scheduler", "-P", here]
    words += ["--worker-class", "rq.worker.SimpleWorker", "--logging_level", "CRITICAL"]
    words += ["--url", f"redis://127.0.0.1:{ports[-1]}/0", "jobs"]
    # The functions have to be found by the name of this module.
    sys.path.insert(0, here)
    import rq_py

    with worker_process.running(words):
        rq_py.use(redis.Redis(port=ports[0]), ports[0])
    print("rq", rq.VERSION, *ports, "ok")


if __name__ == "__main__":
    main()
