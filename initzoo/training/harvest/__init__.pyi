from .recipe import HarvestRecipe as HarvestRecipe
from .recipe import load_recipe as load_recipe
from .run import HarvestReport as HarvestReport
from .run import help_harvest as help_harvest
from .run import quick_recipe as quick_recipe
from .run import run_harvest as run_harvest
from .settings import HarvestPlan as HarvestPlan
