from .report import Benchmark as Benchmark
from .run import run_benchmark as run_benchmark
from .settings import METHODS as METHODS
from .settings import OURS as OURS
from .settings import QUICK as QUICK
from .settings import BenchmarkSettings as BenchmarkSettings
from .tuning import choose_concepts as choose_concepts
