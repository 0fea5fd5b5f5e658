"""The registry: what an experiment file may name, and how it is written.

`kinds` lists the families of components, `components` enters and builds them, `spec` reads what a parameter
takes off its annotation, `plugins` loads components of other packages.
"""

from nnlab.registry.components import Component as Component
from nnlab.registry.components import ComponentOf as ComponentOf
from nnlab.registry.components import Keyed as Keyed
from nnlab.registry.components import Section as Section
from nnlab.registry.components import adopter as adopter
from nnlab.registry.components import build as build
from nnlab.registry.components import common_options as common_options
from nnlab.registry.components import components as components
from nnlab.registry.components import plugins_used as plugins_used
from nnlab.registry.components import register as register
from nnlab.registry.components import replace_arguments as replace_arguments
from nnlab.registry.components import section as section
from nnlab.registry.components import section_of as section_of
from nnlab.registry.components import spell_out as spell_out
from nnlab.registry.kinds import KINDS as KINDS
from nnlab.registry.kinds import Kind as Kind
from nnlab.registry.plugins import NNLAB as NNLAB
from nnlab.registry.plugins import Origin as Origin
from nnlab.registry.plugins import import_module_beside as import_module_beside
from nnlab.registry.plugins import imported_modules as imported_modules
from nnlab.registry.plugins import plugins as plugins
from nnlab.registry.spec import TRACED as TRACED
from nnlab.registry.spec import BelowOne as BelowOne
from nnlab.registry.spec import Built as Built
from nnlab.registry.spec import ConfigTree as ConfigTree
from nnlab.registry.spec import ConfigValue as ConfigValue
from nnlab.registry.spec import Count as Count
from nnlab.registry.spec import Deferred as Deferred
from nnlab.registry.spec import Fraction as Fraction
from nnlab.registry.spec import NonNegative as NonNegative
from nnlab.registry.spec import Parameter as Parameter
from nnlab.registry.spec import Positive as Positive
from nnlab.registry.spec import Scalar as Scalar
from nnlab.registry.spec import signature as signature
from nnlab.registry.spec import spec_of as spec_of
