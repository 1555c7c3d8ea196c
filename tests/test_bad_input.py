"""Bad input of any kind: exit code 2, one line that names it, no traceback, and nothing written.

Every row is checked where the command checks it; some of each kind, those of ``TYPED``, are typed
as well.
"""

import copy
import shutil
from functools import cache
from pathlib import Path

import pytest
from curves import plan, reaching, read_back, results, told
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from collect import corpus
from collect.commands import advise as advice_command
from collect.commands import cli as shared
from collect.commands import inspect_corpus as command
from collect.config import CollectConfig
from collect.corpus import places as store
from collect.corpus_config import AdviseConfig, InspectCorpusConfig
from collect.population import collect_population
from collect.training.stop import Stop
from evaluate import Arm, joining
from evaluate.commands import products
from evaluate.config import EvaluateConfig, ReportConfig
from evaluate.configured import evaluate
from meta_train.config import MetaTrainConfig
from meta_train.fitting import meta_train

COLLECT = [
    # what is added to a good command line, and what the message must name
    ("model=lenett", "the nearest is lenet; --help lists all "),
    ("hydra/launcher=sloorm", "the nearest is slurm; there are joblib, ray, slurm, submitit_local"),
    ("model.name=lenett", "lenett"),
    ("data=mnits", "the nearest is mnist; there are cifar10, digits"),
    ("data.name=mnits", "mnits"),
    ("data.name=../mnist", "../mnist"),
    ("data.name=", "data.name"),
    ("data.name=null", "data.name"),
    ("data.dir=", "data.dir"),
    ("data=cifar10 data.dir={file}", "{file}"),
    ("augment=flip", "flip"),
    ("augment.name=flip", "flip"),
    ("augment.angle=3", "angle"),
    ("optimizer=addam", "addam"),
    ("optimizer.name=addam", "addam"),
    ("optimizer.schedule=linear", "linear"),
    ("optimizer.learning_rate=-1", "-1"),
    ("optimizer.learning_rate=0", "0"),
    ("optimizer.learning_rate=1000", "1000"),
    ("optimizer.learning_rate=nan", "nan"),
    ("optimizer.learning_rate=fast", "fast"),
    ("optimizer.lr=0.1", "lr"),
    ("epochs=0", "epochs=0"),
    ("epochs=-3", "-3"),
    ("epochs=ten", "ten"),
    ("epochs=1.5", "1.5"),
    ("epochs=null", "epochs"),
    ("epochs=[1,2]", "epochs"),
    ("batch_size=0", "batch_size=0"),
    ("batch_size=5000", "5000"),
    ("runs=0", "runs=0"),
    ("runs=two", "two"),
    ("record_every=0", "record_every=0"),
    ("record_every=never", "never"),
    ("max_minutes=-1", "-1"),
    ("max_minutes=0", "max_minutes=0"),
    ("max_minutes=nan", "nan"),
    ("data.train_size=0", "train_size=0"),
    ("data.train_size=-5", "-5"),
    ("data.train_size=99999", "99999"),
    ("model.width=0", "width=0"),
    ("model.width=-1", "-1"),
    ("data.in_memory=-1", "data.in_memory=-1"),
    ("data.in_memory=nan", "data.in_memory=nan"),
    ("data.in_memory=much", "much"),
    ("data.size=0", "data.size=0"),
    ("data.size=9000", "data.size=9000"),
    ("data.size=large", "large"),
    ("data.size=16", "digits has images of one size"),
    ("model.width=wide", "wide"),
    ("model.width=nan", "nan"),
    ("model=resnet20 model.depth=21", "depth=21"),
    ("model=resnet20 model.depth=-4", "depth=-4"),
    ("model=mlp model.depth=3", "depth"),
    ("seed=-1", "seed=-1"),
    ("seed=2147483648", "2147483648"),
    ("vary.learning_rate=[0.1]", "[0.1]"),
    ("vary.learning_rate=[0.1,0.01]", "0.01"),
    ("vary.learning_rate=[0,1]", "0"),
    ("vary.learning_rate=fast", "vary.learning_rate=[fast]"),
    ("vary.schedule=[linear]", "linear"),
    ("vary.batch_size=[]", "vary.batch_size"),
    ("vary.batch_size=[64,0]", "0"),
    ("optimizer.warmup=1", "warmup=1"),
    ("together=maybe", "maybe"),
    ("at_once=0", "at_once=0"),
    ("vary.schedule=[]", "vary.schedule"),
    ("epoch=3", "epoch"),
    ("+extra=3", "extra"),
    ("++extra=3", "extra"),
    ("+model.extra=3", "extra"),
    ("epochs=${nope}", "nope"),
    ("epochs", "epochs"),
    ("vary.learning_rate=[0.1", "[0.1"),
    ("~corpus", "corpus"),
    ("corpus=???", "corpus"),
    ("corpus=", "corpus"),
    ("corpus=null", "corpus"),
    ("corpus={file}", "{file}"),
    ("corpus={folder}", "{folder}"),
    ("corpus={file}/below", "{file}"),
    ("corpus={dangling}/mine", "{dangling}' is a link to "),
    ("corpus=~nobody-here/a", "'corpus=\"~nobody-here/a\"'"),
    ("corpus={other_schema}", "corpus/99"),
    ("batch_stats=some", "some"),
    (
        "corpus=lr=0.1/x",
        """corpus=lr=0.1/x: a text with such characters goes into quotes: 'corpus="lr=0.1/x"'""",
    ),
    ("corpus=run#1", """'corpus="run#1"'"""),
    ("corpus=naïve", """'corpus="naïve"'"""),
    ("corpus=a[b", """'corpus="a[b"'"""),
    ("corpus=a(b", """'corpus="a(b"'"""),
    ("corpus=~me", """'corpus="~me"'"""),
    ("corpus=实", """'corpus="实"'"""),
    ("data.dir=a=b", """'data.dir="a=b"'"""),
    ("corpus=a,b", "add -m to try each value; a list is corpus=[a,b], and a text 'corpus=\"a,b\"'"),
    ("corpús=a", "'corpús'"),
    ("corpus=ftp://host/mine", "ftp"),
    ("corpus=gs://", "gs://"),
    ("corpus=memory://mine", "memory"),
    ("corpus=file://{folder}", "is not a corpus"),
    ("corpus={damaged_manifest}", "remove this file alone"),
    ("corpus={empty_run}", "run.json lacks config"),
    ("task=gtp", "gpt2_small"),
    ("task._target_=null", "my_package.my_file.MyTask"),
    ("task._target_=Alone", "package.file.Class"),
    ("task._target_=nowhere.Task", "nowhere cannot be imported"),
    ("task._target_=collect.tasks.Missing", "no class Missing"),
    ("task._target_=json.JSONDecoder task.width=3", "task.width: is unknown"),
    ("task._target_=json.JSONDecoder", "JSONDecoder.name: is missing"),
    ("task.width=3", "collect.tasks.Classification takes no keys of its own"),
    ("task=gpt task.layer=3 data=tiny_shakespeare", "tokens, steps_per_epoch, layers"),
    ("task=gpt", "is not a text; give data=tiny_shakespeare"),
    ("task=gpt data=tiny_shakespeare augment=crop_flip", "augment=crop_flip"),
    ("task=gpt task.heads=5 data=tiny_shakespeare", "task.heads=5: must divide"),
    ("task=gpt task.dropout=1 data=tiny_shakespeare", "task.dropout=1"),
    ("task=ddpg task.tau=0", "task.tau=0: must be above 0 and at most 1"),
    ("task=ddpg data=mnist", "data=mnist: collect.tasks.DDPG takes no data; leave it out"),
    ("task=gpt data.name={folder}", "{folder}': holds no .txt file"),
    ("task=gpt data.name={folder}/none", "is not there"),
    ("task=gpt data.name={file}", "is a file"),
    ("task=gpt data.name={empty_text}", "is empty; fill it"),
    ("task=gpt data.name={short_text}", "a shorter task.context"),
    ("task=gpt data.name={latin_text}", "is not UTF-8 at byte 3"),
    ("data.name={folder}", "images are in no folder"),
    (
        "task=gpt data.name={short_text} task.context=2 task.tokens={file}",
        "is not a tokenizer's file",
    ),
    ("task=gpt data.name={short_text} task.tokens=words", "task.tokens=words: is not a file"),
    ("task=gpt data.name={short_text} data.standardize=true", "is for images"),
    ("data.center=true augment=flip_shift_cutout", "needs images in [0, 1]; leave one of them out"),
    ("task=gpt data.name={short_text} data.center=true", "data.center=true: is for images"),
    ("task=ddim data=digits data.center=true", "data.center=true: this task does not take it"),
    ("task=openpose data.name=figures data.center=true", "data.center=true: this task does not"),
    ("data.center=true data.standardize=true", "data.center=true: does not go together with"),
    ("task=gpt data.name={short_text} data.size=16", "data.size=16: is for images"),
    ("task=gpt data.name={short_text} task.context=6", "batch_size=64: must be 1 to"),
    ("task=gpt data.name={short_text} data.train_size=9999", "training tokens to give"),
    (
        "task=gpt data.name={short_text} task.context=2 batch_size=1 task.steps_per_epoch=0",
        "task.steps_per_epoch=0",
    ),
    ("hydra/launcher=joblib", "add -m"),
    ("--corpus=mine", "--corpus=mine: keys have no hyphens before them: give corpus=mine"),
    ("--data.name", "give data.name=…"),
    ("corpus=http://127.0.0.1:9/mine", "127.0.0.1:9"),
]
META_TRAIN = [
    ("corpus={folder}/nowhere", "{folder}/nowhere"),
    ("corpus={folder}", "{folder}"),
    ("corpus={file}", "{file}"),
    ("corpus={other_schema}", "corpus/99"),
    ("corpus={damaged_manifest}", "manifest.json"),
    ("corpus={damaged_run}", "run.json"),
    ("corpus={damaged_chunk}", "/weights/c/3/0"),
    ("corpus=???", "corpus"),
    ("~bundle", "bundle"),
    ("bundle=", "bundle"),
    ("bundle=null", "bundle"),
    ("bundle={file}", "{file}"),
    ("bundle={folder}", "{folder}"),
    ("bundle={dangling}", "{dangling}' is a link to "),
    ("corpus={dangling}", "{dangling}' is a link to "),
    ("forecaster=linear", "linear"),
    ("forecaster=crystal_ball", "crystal_ball"),
    ("window=1", "window=1"),
    ("window=50", "50"),
    ("window=five", "five"),
    ("horizon=0", "horizon=0"),
    ("horizon=50", "50"),
    ("steps=0", "steps=0"),
    ("steps=many", "many"),
    ("batch_size=0", "batch_size=0"),
    ("batch_size=12", "batch_size=12"),
    ("patience=0", "patience=0"),
    ("sampling=random", "random"),
    ("networks=norm", "networks"),
    ("networks={{norm:1}}", "networks"),
    ("served_by={{norm:norm}}", "served_by: no key has this name"),
    ("networks={{gru:norm}}", "gru"),
    ("networks={{conv:null,depthwise_conv:null,fc:null,bias:null}}", "nothing to forecast"),
    ("keep_out=mlp", "keep_out=[mlp]"),
    ("keep_out=[mlp]", "keep_out"),
    ("corpus=[]", "corpus=[a,b]"),
    ("corpus=[{folder},{file}]", "{folder}"),
    ("log=paper", "csv, tensorboard"),
    ("max_minutes=0", "max_minutes=0"),
    ("processes=0", "processes=0"),
    ("processes=many", "auto"),
    ("processes=2", "coordinator"),
    ("processes=2 process=2", "process=2"),
    ("processes=2 coordinator=nonsense", "nonsense"),
    ("networks={{norm:true}}", "networks"),
    ("keep_out=[resnet_32]", "resnet_32"),
    ("keep_out=[lenet5]", "lenet5"),
    ("window=2", "window=2"),
    ("forecaster=wnn_multi", "wnn_multi forecasts 1 to 40 snapshots by default: the longest run"),
    ("bundle=s3://bucket/mine", "s3://bucket/mine"),
    ("validation_share=0", "validation_share=0"),
    ("validation_share=1", "share=1"),
    ("validation_share=nan", "nan"),
    ("learning_rate=-1", "-1"),
    ("learning_rate=inf", "inf"),
    ("seed=-1", "seed=-1"),
    ("stepz=3", "stepz"),
    ("+extra=3", "extra"),
    ("steps=${nope}", "nope"),
    ("forecaster=rate window=7", "window=7: forecaster=rate has no use for it"),
]
EVALUATE = [
    ("forecaster=crystal_ball", "crystal_ball"),
    ("forecaster={folder}/nowhere", "{folder}/nowhere"),
    ("forecaster={folder}", "{folder}"),
    ("forecaster={file}", "{file}"),
    ("forecaster={damaged_bundle}", "params.npz"),
    (
        "forecaster={damaged_pt}",
        "{damaged_pt} is not a zip file, as PyTorch writes since 1.6; give a file",
    ),
    ("forecaster={folder}/nowhere.pt", "{folder}/nowhere.pt cannot be read (No such file"),
    ("forecaster=???", "forecaster"),
    ("forecaster=", "forecaster"),
    ("report=???", "report"),
    ("report=", "report"),
    ("report={folder}", "{folder}"),
    ("report={file}", "{file}"),
    ("report={dangling}", "{dangling}' is a link to "),
    ("forecaster={dangling}", "{dangling}' is a link to "),
    ("model=resnet21", "resnet21"),
    ("data=mnits", "mnits"),
    ("augment=flip", "flip"),
    ("data=mnist data.dir={file}", "{file}"),
    ("optimizer=addam", "addam"),
    ("seeds=0", "seeds=0"),
    ("seeds=five", "five"),
    ("seed=-1", "seed=-1"),
    ("seed=1000", "1000"),
    ("seed=99999999999999999999", "99999999999999999999"),
    ("epochs=1", "epochs="),
    ("epochs=0", "epochs=0"),
    ("target_share=0", "target_share=0"),
    ("target_share=1.5", "1.5"),
    ("tuned.learning_rates=[]", "learning_rates"),
    ("tuned.learning_rates=[0.1,-1]", "-1"),
    ("tuned.learning_rates=fast", "fast"),
    ("tuned.warmups=[]", "tuned.warmups"),
    ("tuned.warmups=[0.1,1]", "tuned.warmups=[0.1, 1.0]"),
    ("tuned.warmups=[0.1,0.1]", "each share once"),
    ("arm.constant.warmup=tuned", "arm.constant.learning_rate=tuned too"),
    ("tuned.seeds=0", "tuned.seeds"),
    ("tuned.seed=-1", "-1"),
    ("tuned.rates=[1]", "tuned has no key of this name; there are learning_rates"),
    ("optimizer.schedule=cosine", "cosine"),
    ("optimizer.warmup=0.1", "0.1"),
    ("batch_size=5000", "5000"),
    ("record_every=0", "record_every=0"),
    ("max_minutes=0", "max_minutes=0"),
    ("data.in_memory=-1", "data.in_memory=-1"),
    ("data.size=0", "data.size=0"),
    ("data.train_size=99999", "99999"),
    ("seedz=3", "seedz"),
    ("+extra=3", "extra"),
    ("epochs=${nope}", "nope"),
    ("workers=0", "workers=0"),
    ("together=maybe", "maybe"),
    ("optimizer=schedule_free", "moments=keep"),
    ("arm=[]", "arm=[]"),
    ("arm=[constant,constnt_linear]", "the nearest is constant_linear; --help lists all "),
    ("arm=constnt", "the nearest is constant; --help lists all "),
    ("arm=[constant,linear]", "arm.linear.over=cosine: is not among the arms"),
    ("arm=[constant_linear]", "add it to arm=[constant_linear]"),
    (
        "arm=[constant,constant_linear,constant_nowcast] forecaster=",
        "arm.constant_nowcast has no forecaster",
    ),
    ("arm=[constant,constant_published] forecaster= published={folder}", "{folder}"),
    (
        "arm=[constant,constant_introspection] forecaster= introspection={damaged_bundle}",
        "params.npz",
    ),
    ("arm.constant.learning_rate=fast", "arm.constant.learning_rate=fast"),
    ("arm.constant.learning_rate=-1", "-1"),
    ("arm.constant.optimizer=addam", "addam"),
    ("arm.constant.schedule=linear", "arm.constant.schedule=linear"),
    ("arm.constant.warmup=1", "arm.constant.warmup=1"),
    ("arm.constant.warmup=long", "long"),
    ("arm.constant.jump.damping=0.5", "arm.constant.jump"),
    ("arm.constant_linear.jump.damping=much", "much"),
    ("arm.constant_linear.jump.dampin=1", "the nearest is damping; there are every, at, aim"),
    ("arm.constant_linear.jump.damping=0", "damping=0"),
    ("arm.constant_linear.jump.every=0", "every=0"),
    ("arm.constant_linear.jump.every=2", "epochs="),
    ("arm.constant_linear.jump.horizon=0", "horizon=0"),
    ("arm.constant_linear.jump.moments=drop", "drop"),
    ("arm.constant_linear.jump.operations=[convv]", "convv"),
    ("arm.constant_linear.of=average", "arm.constant_linear.of=average"),
    ("+arm={{constant:{{average:{{kind:swa}}}}}}", "kind=swa"),
    ("+arm={{constant:{{outer:{{every:0}}}}}}", "outer.every=0"),
    ("arm.constant.average={{kind:swa}}", "arm.constant.average="),
    ("arm.constant_linear.guard.aftr=0.5", "the nearest is after; there are kind, tolerance"),
    ("arm.constant_linear.guard=backtrack", "the nearest is backtracking; there are at_once"),
    ("arm.constant_linear.guard=waiting arm.constant_linear.guard.after=1", "guard is a word"),
    ("arm.constant.guard.after=0.5", "arm.constant.guard"),
    ("+arm.mine={{over:constant}}", "+arm={{mine: "),
    ("+arm={{mine:{{over:nobody}}}}", "arm.mine.over=nobody"),
    ("+arm={{mine:{{ovr:constant}}}}", "ovr"),
    ("+arm={{a:{{over:b}},b:{{over:a}}}}", "leads back to the arm itself"),
    ("+arm={{a/b:{{over:constant}}}}", "a/b"),
    ("+arm={{mine:3}}", "mine"),
    ("protocol=kind", "honest, paper"),
    ("protocol=robust robust.starts=[]", "robust.starts=[]"),
    ("protocol=robust robust.starts=[1,-1]", "above 0"),
    ("protocol=robust robust.starts=[1,1]", "each once"),
    ("robust.warmup=1", "robust.warmup=1"),
    (
        "protocol=robust arm=[cosine_1e-2] forecaster=",
        "arm.cosine_1e-2.learning_rate=0.01: protocol=robust trains every arm",
    ),
    ("protocol=robust arm=[cosine] forecaster= +arm={{swept:{{over:cosine}}}}", "arm=swept"),
    ("protocol=robust arm=[prodigy] forecaster=", "add it to arm=[prodigy]"),
    ("target_value=nan", "target_value=nan: must be a finite number"),
    ("target_value=0.7", "target_value=0.7: belongs to protocol=paper"),
    ("target_metric=loss", "target_metric=loss: belongs to protocol=paper"),
    (
        "protocol=paper data.validation=false arm=[constant] forecaster= target_metric=reward",
        "target_metric=reward: the task measures loss, accuracy; give one of these",
    ),
    ("protocol=budget budget.lengths=[]", "budget.lengths=[]"),
    ("budget.lengths=[0,1]", "above 0"),
    ("budget.lengths=[-1,1]", "above 0"),
    ("budget.lengths=[1]", "two multiples of epochs or more"),
    ("budget.lengths=[1,1]", "each once"),
    ("budget.lengths=[1,inf]", "at most 100"),
    ("budget.lengths=2", "budget.lengths"),
    (
        "protocol=budget arm=[constant] forecaster= budget.lengths=[0.001,1]",
        "budget.lengths=0.001: a run of that length",
    ),
    (
        "protocol=budget arm=[constant] forecaster= budget.lengths=[0.5,0.5001]",
        "another length has",
    ),
    ("protocol=budget arm=[cosine] forecaster= +arm={{swept:{{over:cosine}}}}", "arm=swept"),
    ("protocol=budget arm=[cosine_linear] forecaster=", "add it to arm=[cosine_linear]"),
    ("target_value=-inf", "target_value=-inf"),
    ("data.validation=false", "data.validation=false"),
    ("protocol=paper data.validation=false", "tuned"),
    ("beside=theirs", "beside"),
    ("published={folder}", "no arm of this command jumps by this forecaster"),
    ("arm=[constant,constant_linear]", "forecaster="),
    ("epochs=2 arm=[constant] forecaster=", "a run has 3 evaluations"),
    ("-m report={folder}", "is not a report"),
    ("-m report={one}", "holds a report of one task"),
]
REPORT = [
    ("reports=[]", "two folders or more"),
    ("reports=[{one}]", "two folders or more"),
    ("reports={one}", "reports=[{one}"),
    ("~reports", "reports"),
    ("reports=???", "reports"),
    ("reports=[{one},{one}]", "twice"),
    ("reports=[{one},{one}/]", "twice"),
    ("reports=[{one},{folder}/nowhere]", "{folder}/nowhere"),
    ("reports=[{folder},{one}]", "{folder}"),
    ("reports=[{dangling},{one}]", "{dangling}' is a link to "),
    ("report={dangling}", "{dangling}' is a link to "),
    ("reports=[{one},{file}]", "{file}"),
    ("reports=[{one},{damaged_report}]", "{damaged_report}"),
    ("reports=[{one},{old_report}]", "results/1"),
    ("reports=[{one},{paper_report}]", "honest at 0.75, paper at accuracy 0.6"),
    ("reports=[{one},{two},null]", "reports"),
    ("report=", "report"),
    ("report=???", "report"),
    ("report={file}", "{file}"),
    ("report={file}/below", "{file}"),
    ("report={folder}", "is not a report"),
    ("report={one}", "holds a report of one task"),
    ("reprot=here", "reprot"),
    ("+extra=3", "extra"),
]
INSPECT = [
    ("corpus={folder}", "{folder}"),
    ("corpus={other_schema}", "corpus/99"),
    ("corpus=", "corpus"),
    ("corpus=ftp://host/mine", "ftp"),
    ("corpus=file://{folder}", "no corpus there"),
    ("pictures={file}", "{file}"),
    ("pictures={dangling}", "{dangling}' is a link to "),
    ("corpus={dangling}", "{dangling}' is a link to "),
    ("weights=0", "weights=0"),
    ("seed=-1", "seed=-1"),
    ("verify=perhaps", "perhaps"),
    ("picture=here", "picture"),
]
ADVISE = [
    ("corpus={folder}", "no corpus there"),
    ("corpus={other_schema}", "corpus/99"),
    ("~run", "holds 3 runs: "),
    ("corpus={damaged_manifest}", "manifest.json"),
    ("corpus={damaged_run} ~run", "run.json"),
    ("~corpus ~run", "give corpus=… or checkpoints=…"),
    ("checkpoints={folder}", "and not both"),
    ("~corpus checkpoints={folder}", "run=nobody: is of a corpus"),
    ("prefix=model", "prefix=model: is of checkpoints"),
    ("corpus=", "corpus=''"),
    ("corpus={dangling}", "{dangling}' is a link to "),
    ("corpus=ftp://host/mine", "ftp"),
    ("~corpus ~run checkpoints={folder}", "no checkpoint is there"),
    ("~corpus ~run checkpoints={file}", "is one checkpoint"),
    ("~corpus ~run checkpoints={folder}/*.npz", "no such files"),
    ("steps=0", "steps=0"),
    ("steps=many", "many"),
    ("run=nobody", "run=nobody: "),
    ("pictures={file}", "{file}"),
    ("pictures=", "pictures=''"),
    ("rum=mine", "rum"),
    ("+extra=3", "extra"),
]
TABLES = {
    "collect": COLLECT,
    "meta_train": META_TRAIN,
    "evaluate": EVALUATE,
    "report": REPORT,
    "inspect_corpus": INSPECT,
    "advise": ADVISE,
}
TYPED = {
    "collect": [
        "model=lenett",
        "hydra/launcher=sloorm",
        "task=ddpg data=mnist",
        "hydra/launcher=joblib",
        "augment.angle=3",
        "optimizer.learning_rate=fast",
        "epochs=0",
        "vary.learning_rate=[0.1,0.01]",
        "+extra=3",
        "epochs=${nope}",
        "epochs",
        "vary.learning_rate=[0.1",
        "~corpus",
        "corpus=???",
        "corpus={folder}",
        "corpus=lr=0.1/x",
        "corpus=naïve",
        "corpus=a,b",
        "--corpus=mine",
        "--data.name",
        "corpus={empty_run}",
        "corpus=memory://mine",
        "model=resnet20 model.depth=21",
        "task=gtp",
        "task._target_=nowhere.Task",
        "task=gpt data.name={empty_text}",
    ],
    "meta_train": [
        "corpus={damaged_chunk}",
        "bundle={folder}",
        "networks={{norm:1}}",
        "processes=2 coordinator=nonsense",
        "keep_out=mlp",
    ],
    "evaluate": [
        "forecaster={damaged_bundle}",
        "arm=[]",
        "arm=[constant,constnt_linear]",
        "+arm={{mine:3}}",
        "arm.constant.average={{kind:swa}}",
        "arm.constant_linear.guard=waiting arm.constant_linear.guard.after=1",
        "protocol=kind",
        "protocol=robust robust.starts=[]",
        "protocol=budget budget.lengths=[]",
        "-m report={folder}",
        "-m report={one}",
    ],
    "report": ["reports={one}", "reports=[{one},{old_report}]"],
    "inspect_corpus": ["pictures={file}", "weights=0"],
    "advise": ["run=nobody", "~corpus ~run"],
}
"""What only the command line refuses, and some of every other kind."""
ALONE = (
    "-m",
    "--",
    "hydra/launcher",
    "task=ddpg data=",
    "corpus=memory:",
    "corpus=a,b",
    "arm.constant.average=",
    "arm.constant_linear.guard=waiting",
)
"""How a row begins that only the command line refuses."""
ROWS = [(name, *row) for name, rows in TABLES.items() for row in rows]
CHECKED = [row for row in ROWS if not row[1].startswith(ALONE)]
TYPED_ROWS = [row for row in ROWS if row[1] in TYPED[row[0]]]
OUTPUT = {
    "collect": "corpus",
    "meta_train": "bundle",
    "evaluate": "report",
    "report": "report",
    "inspect_corpus": "pictures",
    "advise": "pictures",
}


def inspect_corpus(config):
    command.main(config)


def advise(config):
    advice_command.main(config)


BODIES = {
    "collect": (CollectConfig, collect_population),
    "meta_train": (MetaTrainConfig, meta_train),
    "evaluate": (EvaluateConfig, lambda config: evaluate(config, Path(config.report), Stop())),
    "report": (
        ReportConfig,
        lambda config: joining.write(Path(config.report), list(map(Path, config.reports))),
    ),
    "inspect_corpus": (InspectCorpusConfig, inspect_corpus),
    "advise": (AdviseConfig, advise),
}


def test_what_is_typed_is_in_the_tables():
    assert len(TYPED_ROWS) == sum(map(len, TYPED.values())) >= 30
    assert {row[:2] for row in ROWS if row not in CHECKED} <= {row[:2] for row in TYPED_ROWS}


@pytest.fixture(scope="module")
def places(tmp_path_factory, corpus_path, bundle_path):
    """Things that a path may lead to; none of them may be changed."""
    root = tmp_path_factory.mktemp("bad")
    (root / "file").write_text("dear")
    (root / "damaged.pt").write_text("dear")
    (root / "folder").mkdir()
    (root / "dangling").symlink_to(root / "gone")
    (root / "folder" / "chapter1.tex").write_text("dear")
    for name, content in (
        ("empty_text", b" \n"),
        ("short_text", 10 * b"to be or not to be, that"),
        ("latin_text", b"caf\xe9"),
    ):
        (root / name).mkdir()
        (root / name / "one.txt").write_bytes(content)
    names = ("other_schema", "damaged_manifest", "damaged_run", "empty_run", "damaged_chunk")
    copies = {name: shutil.copytree(corpus_path, root / name) for name in names}
    (copies["other_schema"] / "manifest.json").write_text('{"schema": "corpus/99"}')
    (copies["damaged_manifest"] / "manifest.json").write_text('{"sch')
    (copies["damaged_run"] / "runs" / corpus.open(corpus_path).runs[1].id / "run.json").write_text(
        '{"con'
    )
    (copies["empty_run"] / "runs" / corpus.open(corpus_path).runs[1].id / "run.json").write_text(
        "{}"
    )
    for chunk in copies["damaged_chunk"].glob("runs/*/weights/c/3/0"):
        chunk.write_bytes(chunk.read_bytes()[:-9] + b"\0" * 9)
    copies["damaged_bundle"] = shutil.copytree(bundle_path, root / "damaged_bundle")
    (copies["damaged_bundle"] / "params.npz").write_bytes(b"PK")
    for name, target in (
        ("one", {}),
        ("two", {}),
        ("paper_report", {"target_metric": "accuracy", "target_value": 0.6}),
    ):
        own = plan(
            seeds=1, constant=Arm(), linear=Arm(over="constant", forecaster="linear"), **target
        )
        read_back(
            told(
                results(own, {"constant": [reaching(20)], "linear": [reaching(10)]}), content=name
            ),
            root / name,
        )
        (root / name / "configuration.json").write_text("{}")
        copies[name] = root / name
    for name, content in (
        ("damaged_report", '{"sch'),
        ("old_report", '{"schema": "weight-nowcaster/results/1"}'),
    ):
        copies[name] = shutil.copytree(copies["one"], root / name)
        (copies[name] / "results.json").write_text(content)
    copies |= {name: root / name for name in ("empty_text", "short_text", "latin_text")}
    places = {
        "file": root / "file",
        "damaged_pt": root / "damaged.pt",
        "folder": root / "folder",
        "dangling": root / "dangling",
        **copies,
    }
    before = contents(root)
    yield places
    assert contents(root) == before


def contents(root):
    return {
        path: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "lock" not in path.name
    }


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A store that does not answer is asked once."""
    monkeypatch.setattr(
        store, "CONTEXT", store.ts.Context({"http_request_retries": {"max_retries": 1}})
    )
    store._connect.cache_clear()
    yield
    store._connect.cache_clear()


@pytest.fixture
def line(corpus_path, bundle_path, places):
    """A good command line with something bad in it, in parts; ``~key`` takes one away. It writes
    beside where it runs.
    """
    small = ["model=mlp", "model.width=0.1"]
    good = {
        "collect": [*small, "epochs=1", "runs=1"],
        "meta_train": [f"corpus={corpus_path}", "steps=2", "batch_size=64"],
        "evaluate": [*small, f"forecaster={bundle_path}", "epochs=6", "seeds=2"],
        "report": [f"reports=[{places['one']},{places['two']}]"],
        "inspect_corpus": [f"corpus={corpus_path}"],
        "advise": [f"corpus={corpus_path}", "run=nobody"],
    }

    def make(name, bad):
        own = [f"{OUTPUT[name]}=out", *good[name]]
        gone = tuple(part[1:] for part in bad.split() if part[0] == "~")
        gone += ("model",) if "task=" in bad else ()
        own = [part for part in own if not part.startswith(gone)]
        more = [
            part if "${" in part else part.format(**places)
            for part in bad.split()
            if part[0] != "~"
        ]
        return own, more

    return make


@pytest.fixture(scope="module")
def cli():
    """The module that all commands share, which knows their schemas."""
    for name, (schema, _) in BODIES.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    products.store()
    return shared


@cache
def _composed(configs, name, overrides):
    with initialize_config_dir(configs, version_base="1.3"):
        return compose(name, overrides=list(overrides))


def configuration(cli, name, good, bad):
    """What Hydra makes of a command line: of keys of the configuration, on top of what it made of
    the good part.
    """
    keys = {part.split("=")[0].split(".")[0] for part in bad}
    groups = {folder.name for folder in Path(cli.CONFIGS).iterdir() if folder.is_dir()}
    if any(part.split("=")[0] in groups or part[0] in "+~" or "=" not in part for part in bad):
        return _composed.__wrapped__(cli.CONFIGS, name, (*good, *bad))
    config = copy.deepcopy(
        _composed(
            cli.CONFIGS,
            name,
            tuple(part for part in good if part.split("=")[0] not in keys - groups),
        )
    )
    ConfigLoaderImpl._apply_overrides_to_config(
        OverridesParser.create().parse_overrides(bad), config
    )
    return config


def check_line(said, named):
    assert said.startswith("error: ")
    assert "\n" not in said
    assert named in said


@pytest.mark.parametrize(
    ("name", "bad", "named"), CHECKED, ids=[f"{name} {bad}" for name, bad, _ in CHECKED]
)
def test_bad_input_is_refused_with_a_line_that_names_it(
    cli, line, places, tmp_path, monkeypatch, name, bad, named
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((*cli.WRONG, HydraException)) as caught:
        cli.checked(configuration(cli, name, *line(name, bad)), *BODIES[name])
    check_line(cli.line(caught.value), named.format(**places))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "bad", "named"), TYPED_ROWS, ids=[f"{name} {bad}" for name, bad, _ in TYPED_ROWS]
)
def test_a_command_with_bad_input_ends_with_that_line(
    script, line, places, tmp_path, name, bad, named
):
    good, more = line(name, bad)
    done = script(name, *sorted(good + more, key=lambda part: part != "-m"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("\n")
    check_line(done.stderr[:-1], named.format(**places))
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.parametrize(
    "name", ["collect", *(pytest.param(name, marks=pytest.mark.slow) for name in list(TABLES)[1:])]
)
def test_a_process_of_its_own_ends_the_same_way(process, name, tmp_path):
    done = process(name, "corpse=1", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "corpse" in done.stderr
    assert list(tmp_path.iterdir()) == []
