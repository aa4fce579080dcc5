from .report import Benchmark as Benchmark
from .run import run_benchmark as run_benchmark
from .settings import METHODS as METHODS
from .settings import OURS as OURS
from .settings import QUICK_BENCHMARK as QUICK_BENCHMARK
from .settings import BenchmarkSettings as BenchmarkSettings
from .tuning import choose_concepts as choose_concepts
